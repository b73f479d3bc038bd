"""The Fraud Detection Handbook's protocol: its baselines come out, and one model of ours is held against its best rows.

The order matters: the model is chosen on earlier weeks (`bench/handbook_choice.py`), and only then the judged week is
scored, once, with what was chosen. The later folds join where the raw file has their days.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.figures import Figure, Figures, not_measured
from bench.handbook_baselines import (
    BASELINES,
    MEASURES,
    PUBLISHED,
    PUBLISHED_MEANS,
    baseline,
    baseline_figures,
    best,
)
from bench.handbook_choice import Candidate, Tried, choose, judge, known_before, validation_folds
from bench.handbook_features import HANDBOOK
from bench.handbook_further import FURTHER
from bench.handbook_members import MATURED_FROM, Members
from bench.handbook_protocol import (
    CHAPTER_3,
    PREQUENTIAL,
    Fold,
    Quality,
    judged_rows,
    mean_quality,
    missing_days,
    training_rows,
)
from bench.handbook_rows import Rows, read_rows, relations, source


def measure() -> Figures:
    """All figures. Takes some minutes; exits at once where the raw transactions are absent."""
    return measure_file(source())


def measure_file(place: Path, first: Fold = CHAPTER_3, folds: tuple[Fold, ...] = PREQUENTIAL) -> Figures:
    """The figures of a file, with the baseline table's fold and the prequential ones; published values are theirs."""
    with relations(place) as connection:
        _say("the handbook's fifteen features")
        book = read_rows(connection, HANDBOOK, min(fold.train_from for fold in (first, *folds)))
        _say("the fraud use case's features, and further ones")
        ours = read_rows(connection, FURTHER, MATURED_FROM)
    figures: Figures = {}
    found: dict[str, Quality] = {}
    for name in BASELINES:
        _say(f"baseline: {name}")
        found[name] = baseline(book, first, name)
    note = f"{int(book.y[training_rows(book, first)].sum())} frauds"
    figures["training rows"] = Figure(len(training_rows(book, first)), "rows", None, "higher", note)
    judged = judged_rows(book, first)
    figures["judged rows"] = Figure(len(judged), "rows", None, "higher", f"{int(book.y[judged].sum())} frauds")
    figures |= baseline_figures(found)

    members = Members()
    # 1. Choose, from rows whose labels are known by then.  2. Score the judged week, once.
    # Turned round, the choice would know what it is measured on.
    chosen, tried = choose(known_before(ours, first), validation_folds(first), members, _say)
    figures |= _choice_figures(chosen, tried)
    _say(f"judged week: {chosen.name}")
    result = judge(ours, first, chosen, members)
    figures |= _against("ours, chosen on earlier weeks", result, best(PUBLISHED), chosen.name)
    if chosen.matured:
        week = chosen._replace(matured=False)
        _say(f"judged week: {week.name}")
        figures |= _against("ours, 7 training days", judge(ours, first, week, members), None, week.name)
    return figures | _prequential_figures(ours, book, folds, {first: result}, {first: found}, chosen, members)


def _choice_figures(chosen: Candidate, tried: list[Tried]) -> Figures:
    figures: Figures = {}
    for one in tried:
        mean, folds = one.mean, len(one.folds)
        note = ", ".join(f"{short} {getattr(mean, measure):.3f}" for measure, short in MEASURES.items())
        mark = "; chosen" if one.candidate == chosen else ""
        figures[f"earlier weeks, {one.candidate.name}"] = Figure(
            sum(mean), "sum of 3", None, "higher", f"mean of {folds} folds: {note}{mark}"
        )
    return figures


def _against(name: str, result: Quality, published: Quality | None, note: str) -> Figures:
    """The three measures of a result; to be met is the best published of each."""
    return {
        f"{name}, {short}": Figure(
            getattr(result, measure), "", None if published is None else getattr(published, measure), "higher", note
        )
        for measure, short in MEASURES.items()
    }


def _prequential_figures(
    ours: Rows,
    book: Rows,
    folds: tuple[Fold, ...],
    known: dict[Fold, Quality],
    found: dict[Fold, dict[str, Quality]],
    chosen: Candidate,
    members: Members,
) -> Figures:
    """Each fold that the file has, with what was chosen before the first of them; the means where it has all.

    `known` and `found` are what ours and the baselines have reached already: a fold is judged once.
    """
    figures: Figures = {}
    results: list[Quality] = []
    baselines: dict[str, list[Quality]] = {"logistic regression": [], "random forest": []}
    for number, fold in enumerate(folds, 1):
        name = f"fold {number}, judged {fold.test_from} to {fold.last}"
        if missing := missing_days(ours, fold):
            figures[name] = not_measured("", "higher", f"the file lacks {missing} of its judged days")
            continue
        _say(name)
        result = known.get(fold) or judge(ours, fold, chosen, members)
        results.append(result)
        figures |= _against(name, result, None, "ours")
        for model, several in baselines.items():
            if len(folds) > 1 and not missing_days(ours, folds[-1]):
                several.append(found.get(fold, {}).get(model) or baseline(book, fold, model))
    if len(results) < len(folds):
        why = f"{len(results)} of {len(folds)} folds are in the file"
        return figures | {"mean of folds": not_measured("", "higher", why)}
    figures |= _against(
        "mean of folds", mean_quality(results), best(PUBLISHED_MEANS), "ours; best published of any row"
    )
    for model, several in baselines.items():
        if several:
            note = f"defaults; published, tuned: {', '.join(f'{one:.3f}' for one in PUBLISHED_MEANS[model])}"
            figures |= _against(f"mean of folds, {model}", mean_quality(several), None, note)
    return figures


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
