"""Reasons in words: what would have to be usual for the score to fall.

Features are set to what is usual for their entity (or, where its history is too short, for legit traffic), and the
model says by how much the odds of fraud fall. Windows of one kind go together: of three counts that all jumped, each
alone may change nothing. The kinds that lower the odds most are the reasons, each named by its window that does it
best.

What words compare is what the model compared: a feature is called high or low against the very value that would have
lowered the score, and one that pushed the score down is never named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureSet
from models.manifest import Manifest, log_odds
from models.shap import ShapModel
from scoring.rules import Rule, Severity
from scoring.usual import Reference, UsualValues, entities_of
from scoring.wording import spoken
from stream.records import Outcome, Reason

REASON_LIMIT = 4
SMALLEST_SHARE = 0.1
"""A reason takes away at least this share of the odds of fraud."""
LEAST_DROP = -math.log1p(-SMALLEST_SHARE)
SAME_SHARE = 0.02
SAME_COUNT = 0.5
"""A value this near to what is usual, as a share of it or as a number of events, is usual: it is not tried."""
WITHOUT_DIRECTION = ("hours", "days")
WITHOUT_DIRECTION_KINDS = ("previous", "last")


class Scores(Protocol):
    """A model that can score many variants of a vector."""

    @property
    def manifest(self) -> Manifest:
        """Has the reference: what is usual for legit traffic."""

    def score_many(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (rows,)."""


class Explainer:
    """Finds the reasons for scores of one feature set."""

    def __init__(self, features: FeatureSet) -> None:
        self.catalogue = features.catalogue()
        self.usual = UsualValues(features)
        self.entities = entities_of(features)
        # A view of some records only (frauds) says so: its counts are not those of all events.
        some = {view.name: f", where {view.where}" for view in features.views if view.where is not None}
        self._descriptions = [entry.description + some.get(entry.view, "") for entry in self.catalogue]
        kinds = [feature.kind for view in features.views for feature in view.features]
        kinds += [""] * len(features.derived)  # type: ignore[list-item]
        self._directed = [
            kind not in WITHOUT_DIRECTION_KINDS and entry.unit not in WITHOUT_DIRECTION
            for kind, entry in zip(kinds, self.catalogue, strict=True)
        ]
        stems = [(entry.view, entry.description.replace(f" within {entry.window}", "")) for entry in self.catalogue]
        kinds_of = {stem: number for number, stem in enumerate(dict.fromkeys(stems))}
        self._kind = np.array([kinds_of[stem] for stem in stems], dtype=np.int64)
        self._members = [[i for i, stem in enumerate(stems) if kinds_of[stem] == kind] for kind in kinds_of.values()]
        self._alone = np.arange(len(stems), dtype=np.int64)
        self._near = np.array([SAME_COUNT if one.unit in ("events", "values") else 0.0 for one in self.catalogue])

    def explain(
        self, model: Scores, vector: NDArray[np.float64], record: Any, read: ShapModel | None = None
    ) -> list[Reason]:
        """The strongest reasons for a score, strongest first, each of another kind; at most `REASON_LIMIT`.

        `vector` has shape (features,), NaN for unknown. `read` is the model as it was read from its file; without it
        (a file that is not understood) the model scores all variants in one batch, each feature alone. Where nothing
        takes away `SMALLEST_SHARE`, the strongest alone; empty where nothing raises the score.
        """
        reference = self.usual.of(vector, model.manifest.reference)
        tried = self._unusual(vector, reference.values)
        # What is near enough to usual stays as it is: it is no reason, alone or with others.
        usual = np.where(tried, reference.values, vector)
        if read is None:
            alone = _drops_of_batch(model, vector, usual, tried)
            together = np.full(len(self._members), -math.inf)
            np.maximum.at(together, self._kind, alone)
        else:
            alone, together = read.drops(vector, usual, self._alone, self._kind)
        drops = alone.tolist()
        found: list[Reason] = []
        for kind in np.argsort(-together).tolist():
            drop = float(together[kind])
            if not drop > 0.0 or len(found) == REASON_LIMIT or (found and drop < LEAST_DROP):
                break
            members = [index for index in self._members[kind] if tried[index]]
            best = max(members, key=drops.__getitem__, default=-1)
            if best >= 0 and drops[best] >= 0.0:
                found.append(self.reason(best, float(vector[best]), reference, record))
        return found

    def reason(self, index: int, value: float, reference: Reference, record: Any) -> Reason:
        """One feature, its value and what is usual, in words."""
        entry, what = self.catalogue[index], self._descriptions[index]
        usual = float(reference.values[index])
        known = None if math.isnan(value) else value
        expected = None if math.isnan(usual) else usual
        currency = getattr(record, "currency", "")
        says, is_usual = spoken(known, entry.unit, currency), spoken(expected, entry.unit, currency)
        whose = f"for this {self.entities[index]}" if reference.own[index] else "for legit traffic"
        if known is None or expected is None or not self._directed[index]:
            text = f"{what} is {says}; usual {whose} is {is_usual}"
        else:
            side = "higher" if known > expected else "lower"
            text = f"{what} is {says}, {side} than usual {whose}: {is_usual}"
        return Reason(feature=entry.name, text=text, value=known, usual=expected)

    def _unusual(self, vector: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which features differ from what is usual by more than a little."""
        near = np.abs(vector - usual) <= np.maximum(self._near, SAME_SHARE * np.abs(usual))
        result: NDArray[np.bool_] = ~(near | (np.isnan(vector) & np.isnan(usual)))
        return result


def _drops_of_batch(
    model: Scores, vector: NDArray[np.float64], usual: NDArray[np.float64], tried: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """By how much the log-odds fall with each feature alone usual, shape (features,); 0 for those not tried."""
    places = np.flatnonzero(tried)
    variants = np.repeat(vector[None, :], len(places) + 1, axis=0)
    variants[np.arange(len(places)), places] = usual[places]
    scores = log_odds(model.score_many(variants))
    drops = np.zeros(len(vector))
    drops[places] = np.nan_to_num(scores[-1] - scores[:-1])  # what is no number tells nothing
    return drops


def with_rules(found: Sequence[Reason], outcome: Outcome, fired: Sequence[Rule], score: float) -> list[Reason]:
    """All reasons for an outcome that is not `approve`, never none: the rules that asked for it, then the model's.

    A rule that asked for something stricter, or approved, is none; one that raised the score is, with how much it
    added as its value. Where neither rules nor model say anything, the score itself is the reason.
    """
    asked = [rule for rule in fired if 0 < Severity.get(rule.action, 0) <= Severity[outcome]]
    asked.sort(key=lambda rule: -Severity[rule.action])
    asked += [rule for rule in fired if rule.add is not None and rule.add > 0.0]
    by_rule = [
        Reason(
            feature=f"rule:{rule.name}",
            text=rule.because or f"the rule {rule.name!r} fired",
            value=rule.add,
            usual=None,
        )
        for rule in asked[:REASON_LIMIT]
    ]
    if not by_rule and not found:
        text = f"the probability of fraud is {100 * score:.3g}%; no single feature stands out"
        return [Reason(feature="score", text=text, value=score, usual=None)]
    return [*by_rule, *found]
