"""The bench from a raw file to its table: on made transactions, with a fold for each week that the file has."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import handbook, handbook_choice
from bench.figures import Figures
from bench.handbook_baselines import BASELINES, FEATURES, baseline
from bench.handbook_choice import FAMILIES_TRIED, SETS, Candidate, choose, known_before, validation_folds
from bench.handbook_members import CHANGES, Members
from bench.handbook_protocol import CHAPTER_3, Fold, Quality, day_number
from bench.handbook_rows import Rows, relations
from tests.bench.made_handbook import made_rows, write_raw

EARLIER = CHAPTER_3.later(-1)
FOLDS = tuple(EARLIER.later(weeks) for weeks in range(3))
"""The file ends with the second's judged week."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Figures, list[tuple[int, tuple[Fold, ...]]]]:
    """The figures of two raw files in one folder, and the last day of the rows of each choice with its folds."""
    folder = tmp_path_factory.mktemp("raw")
    write_raw(folder / "raw_1.parquet", ends=date(2018, 7, 1))
    write_raw(folder / "raw_2.parquet", begins=date(2018, 7, 1))
    choices: list[tuple[int, tuple[Fold, ...]]] = []

    def noted(rows: Rows, folds: list[Fold], members: Members, on_stage: Any) -> Any:
        choices.append((int(rows.day.max()), tuple(folds)))
        return choose(rows, folds, members, on_stage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handbook, "choose", noted)
        patch.setattr(handbook_choice, "WEEKS_BACK", (2,))
        patch.setitem(CHANGES, "hist_gradient_boosting", {"max_iter": 20})
        patch.setitem(BASELINES, "random forest", BASELINES["logistic regression"])
        figures = handbook.measure_file(folder, EARLIER, FOLDS)
    return figures, choices


def test_each_baseline_stands_beside_its_difference_to_the_published(measured: Any) -> None:
    figures, _ = measured
    for name in BASELINES:
        for short in ("AUC", "AP", "CP@100"):
            difference = figures[f"baseline, {name}, {short}: difference"]
            assert 0.0 <= figures[f"baseline, {name}, {short}"].value <= 1.0
            assert difference.budget == 0.005
            assert difference.meets_budget == (difference.value <= 0.005)
    assert any(figure.meets_budget is False for figure in figures.values()), "made rows are not the handbook's"


def test_ours_is_held_to_the_best_of_each_column(measured: Any) -> None:
    figures, _ = measured
    budgets = [figures[f"ours, chosen on earlier weeks, {short}"].budget for short in ("AUC", "AP", "CP@100")]
    assert budgets == [0.871, 0.658, 0.291]


def test_the_choice_is_made_once_and_before_the_judged_week(measured: Any) -> None:
    figures, choices = measured
    ((last_day, folds),) = choices
    assert last_day == day_number(EARLIER.test_from) - 8
    assert folds == (EARLIER.later(-2),)
    tried = [name for name in figures if name.startswith("earlier weeks, ")]
    assert len(tried) == len(SETS) + len(FAMILIES_TRIED) - 1 + 1
    assert sum("chosen" in figures[name].note for name in tried) == 1


def test_folds_that_the_file_has_are_judged_and_the_others_say_what_lacks(measured: Any) -> None:
    figures, _ = measured
    for number, fold in enumerate(FOLDS[:2], 1):
        assert figures[f"fold {number}, judged {fold.test_from} to {fold.last}, AUC"].value > 0.5
    assert "lacks 7 of its judged days" in figures["fold 3, judged 2018-08-15 to 2018-08-21"].note
    assert "2 of 3 folds" in figures["mean of folds"].note


def test_a_file_with_all_folds_gives_their_mean() -> None:
    rows = made_rows()
    fold = Fold(date(2018, 6, 29))
    results = {one: Quality(0.9, 0.7, 0.3) for one in (fold, fold.later(1))}
    book = replace(rows, X=np.tile(rows.X[:, :1], 15), names=FEATURES)
    candidate = Candidate("fraud", False, ("logistic_regression",))
    found = {fold: {"logistic regression": Quality(1.0, 1.0, 1.0)}}
    figures = handbook._prequential_figures(rows, book, tuple(results), results, found, candidate, Members())
    assert figures["mean of folds, AUC"].value == pytest.approx(0.9)
    assert figures["mean of folds, AUC"].budget == 0.876
    other = baseline(book, fold.later(1), "logistic regression")
    # The first fold's baseline is taken as it was found.
    assert figures["mean of folds, logistic regression, AUC"].value == pytest.approx((1.0 + other.auc) / 2.0)


def test_labels_of_the_delay_and_after_do_not_move_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.handbook_members.FEATURES", dict.fromkeys(("fraud", "further"), ("told", "noise")))
    monkeypatch.setattr("bench.handbook_members.MATURED_FROM", date(2018, 6, 1))
    monkeypatch.setattr(handbook_choice, "WEEKS_BACK", (2,))
    monkeypatch.setattr(handbook_choice, "FIRST", "logistic_regression")
    monkeypatch.setattr(handbook_choice, "FAMILIES_TRIED", (("logistic_regression",),))
    fold = Fold(date(2018, 7, 6))
    rows = made_rows(per_day=60)
    turned = replace(rows, y=np.where(rows.day >= day_number(fold.train_from) + 7, 1 - rows.y, rows.y).astype(np.int8))
    results = [choose(known_before(one, fold), validation_folds(fold), Members()) for one in (rows, turned)]
    assert results[0] == results[1]


def test_without_the_file_the_bench_says_what_is_missing(tmp_path: Path) -> None:
    with (
        pytest.raises(SystemExit, match=r"no raw transactions in .*simulated-data-raw.*HANDBOOK_DATA"),
        relations(tmp_path),
    ):
        pass
