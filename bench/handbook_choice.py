"""One model is chosen for the handbook, on weeks whose labels are all known when the judged week begins.

The same protocol is moved to earlier weeks. The choice is made in three steps, each over a small grid that stands here,
and always goes to the candidate with the highest sum of the three measures' means: features and days with one family;
then the families whose probabilities are averaged; then with or without the online member at the weight that serves.
What is given to `choose` ends before the delay: it holds no row of a judged week, nor any whose label was not known.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from bench.handbook_members import MATURED_FROM, Members
from bench.handbook_protocol import DELAY_DAYS, Fold, Quality, judged_rows, mean_quality, quality
from bench.handbook_rows import Rows

WEEKS_BACK = (2, 3, 4, 5)
"""How far the validation folds lie before the judged one. At 1, its labels would come in the judged week itself."""


class Candidate(NamedTuple):
    """What is fitted: which features, from which rows, which families are averaged, and whether `online` joins."""

    features: str
    matured: bool
    """Whether it learns from all that has matured; otherwise from the protocol's one week."""
    families: tuple[str, ...]
    online: bool = False

    @property
    def name(self) -> str:
        """Such as "further features, all matured days, hist_gradient_boosting + online"."""
        days = "all matured days" if self.matured else "7 training days"
        members = " + ".join((*self.families, "online") if self.online else self.families)
        return f"{self.features} features, {days}, {members}"


class Tried(NamedTuple):
    """A candidate and how good it was on each validation fold."""

    candidate: Candidate
    folds: list[Quality]

    @property
    def mean(self) -> Quality:
        """Over the folds."""
        return mean_quality(self.folds)


FIRST = "hist_gradient_boosting"
SETS = tuple((features, matured) for features in ("fraud", "further") for matured in (False, True))
FAMILIES_TRIED = ((FIRST,), (FIRST, "logistic_regression"))
"""Not the random forest: over five folds it would take longer than all the rest."""


def validation_folds(judged: Fold) -> list[Fold]:
    """The same protocol on earlier weeks, those with all labels known when the judged week begins."""
    return [judged.later(-weeks) for weeks in WEEKS_BACK]


def known_before(rows: Rows, judged: Fold) -> Rows:
    """The rows whose labels are known when the judged week begins."""
    return rows.before(judged.test_from - timedelta(days=DELAY_DAYS))


def choose(
    rows: Rows, folds: list[Fold], members: Members, on_stage: Callable[[str], None] = lambda stage: None
) -> tuple[Candidate, list[Tried]]:
    """The candidate that did best on these folds, and all that were tried. `rows` are those that may be looked at."""
    tried: list[Tried] = []

    def best_of(candidates: list[Candidate]) -> Candidate:
        for candidate in candidates:
            if all(candidate != one.candidate for one in tried):
                on_stage(f"on earlier weeks: {candidate.name}")
                tried.append(Tried(candidate, [judge(rows, fold, candidate, members) for fold in folds]))
        return max((one for one in tried if one.candidate in candidates), key=lambda one: sum(one.mean)).candidate

    chosen = best_of([Candidate(features, matured, (FIRST,)) for features, matured in SETS])
    chosen = best_of([chosen._replace(families=families) for families in FAMILIES_TRIED])
    return best_of([chosen, chosen._replace(online=True)]), tried


def judge(rows: Rows, fold: Fold, candidate: Candidate, members: Members) -> Quality:
    """How good a candidate is on one fold."""
    since = MATURED_FROM if candidate.matured else None
    batch = np.mean([members.batch(rows, fold, candidate.features, since, one) for one in candidate.families], axis=0)
    score = members.with_online(rows, fold, candidate.features, batch) if candidate.online else batch
    return quality(rows, judged_rows(rows, fold), score)
