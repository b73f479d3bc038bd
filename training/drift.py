"""Drift: do features, scores, frauds and the loss still look as they did when the model was trained?

Every number is held against the profile in the model's manifest. What it takes to be drift is in
`training/drift_bounds.py`: a large change that is beyond chance, where chance is shared by all that is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.change_point import last_change
from models.contract import Matrix
from models.profile import Profile, Sketch, sketch
from training.distance import ks, ks_by_chance, psi, psi_by_chance, share_by_chance, shares_of
from training.drift_bounds import BOUNDS, DriftBounds
from training.drift_report import Measured
from training.effective import CARD, Entities, fraud_cards
from training.judged_rows import ALL
from training.metrics import Labels, Scores

PSI, KS, NULLS, FRAUD_RATE, LOSS = "psi", "ks", "null share", "fraud rate", "loss"
LABELS = "labels"
MEASURES_OF_ONE, MEASURES_OF_ALL = 3, 2
LOOK_EVERY = 32
"""Events between two looks of ADWIN."""


@dataclass(frozen=True)
class NewRows:
    """The newest events, labelled or not, and whose they are. `scores` are by member, NaN where it said nothing.

    `entities_of` says of which entities each feature is. `earlier` are scores of the events before, for members of
    which the profile knows nothing, and `earlier_entities` whose those events were.
    """

    X: Matrix
    feature_names: tuple[str, ...]
    entities_of: Mapping[str, Sequence[str]]
    entities: Entities
    scores: Mapping[str, Scores]
    earlier: Mapping[str, Scores]
    earlier_entities: Entities


@dataclass(frozen=True)
class MatureRows:
    """Events whose labels are final, in the order of their times; the last `newest` of them are of the period."""

    y: Labels
    score: Scores
    card: NDArray[Any]
    newest: int


@dataclass(frozen=True)
class _One:
    """One number to look at, a feature or a score, and of which entities it is."""

    subject: str
    before: Sketch
    before_units: float
    values: Scores
    fields: Sequence[str]
    judged: bool = True
    counts_nulls: bool = False


def find_drift(
    profile: Profile, rows: NewRows, mature: MatureRows | None, bounds: DriftBounds = BOUNDS
) -> list[Measured]:
    """Everything that was looked at, what drifted first, then as it is declared.

    What has too little on one side is there without a verdict, and says so.
    """
    ones = [*_features(profile, rows), *_scores(profile, rows)]
    chance = bounds.chance / (MEASURES_OF_ONE * len(ones) + MEASURES_OF_ALL)
    found = [measured for one in ones for measured in _measure(one, rows.entities, bounds, chance)]
    if mature is not None:
        found.append(_fraud_rate(profile, mature, bounds))
        found.append(_loss(mature, bounds, chance))
    return sorted(found, key=lambda one: not one.alarm)


def _features(profile: Profile, rows: NewRows) -> Iterator[_One]:
    for place, name in enumerate(rows.feature_names):
        fields = rows.entities_of[name]
        if name in profile.features:
            # A profile of rows without records knows of cards alone: then nothing else can be judged.
            units = min(profile.units.get(field, 0.0) for field in fields)
            yield _One(name, profile.features[name], units, rows.X[:, place], fields, counts_nulls=True)


def _scores(profile: Profile, rows: NewRows) -> Iterator[_One]:
    for member, score in rows.scores.items():
        subject = f"score of {member}"
        if member in profile.scores:
            yield _One(subject, profile.scores[member], profile.measured_units.get(CARD, 0.0), score, (CARD,))
        elif member in rows.earlier:
            units = rows.earlier_entities.units((CARD,))
            # A member that learns is meant to move: shown, not judged.
            yield _One(subject, sketch(rows.earlier[member]), units, score, (CARD,), judged=member == ALL)


def _measure(one: _One, entities: Entities, bounds: DriftBounds, chance: float) -> Iterator[Measured]:
    before, known = one.before, ~np.isnan(one.values)
    values, units = one.values[known], entities.units(one.fields)
    n_before = before.known / (1.0 - before.null_share) if before.null_share < 1.0 else bounds.least_rows
    # A score that is not there was left out, or another version gave it; that a member is silent, others tell.
    if one.counts_nulls and one.before_units > 0.0 and units > 0.0 and min(n_before, len(known)) >= bounds.least_rows:
        nulls = 1.0 - len(values) / len(known)
        by_chance = share_by_chance(before.null_share, nulls, one.before_units, units, chance)
        limit, change = max(bounds.null_change, by_chance), abs(nulls - before.null_share)
        says = f"{before.null_share:.1%} unknown before, {nulls:.1%} now"
        yield Measured(NULLS, one.subject, change, limit, one.judged and change > limit, says)
    # Of the reference nobody kept for which entities a number was known: as many as its share of the rows.
    before_units = one.before_units * (1.0 - before.null_share)
    units = entities.units(one.fields, known)
    if min(before_units, units) < bounds.least_units or min(before.known, len(values)) < bounds.least_rows:
        says = (
            f"too little to judge: {before.known:,} values, worth {before_units:.0f} of {', '.join(one.fields)}, "
            f"before; {len(values):,}, worth {units:.0f}, now"
        )
        yield Measured(PSI, one.subject, None, bounds.psi, False, says)
        return
    was, now = shares_of(before, one.values)
    says = f"median {_median(before):.4g} before, {float(np.median(values)):.4g} now"
    index = psi(was, now, before_units, units)
    limit = bounds.psi + psi_by_chance(len(was), before_units, units, chance)
    yield Measured(PSI, one.subject, index, limit, one.judged and index > limit, says)
    distance = ks(was, now)
    limit = max(bounds.ks, ks_by_chance(before_units, units, chance))
    yield Measured(KS, one.subject, distance, limit, one.judged and distance > limit, says)


def _median(before: Sketch) -> float:
    """About: the edge at which half of the mass has been passed."""
    half = int(np.searchsorted(np.cumsum(before.shares), 0.5))
    return before.edges[min(half, len(before.edges) - 1)]


def _fraud_rate(profile: Profile, mature: MatureRows, bounds: DriftBounds) -> Measured:
    """Chance is counted by the cards that had any: the frauds of one are one incident."""
    newest = slice(len(mature.y) - mature.newest, None)
    y, card = mature.y[newest], mature.card[newest]
    rate, cards = float(np.mean(y)) if len(y) else 0.0, fraud_cards(card, y)
    says = f"{profile.fraud_rate:.3%} before, {rate:.3%} now, worth {cards:.0f} cards"
    enough = len(y) >= bounds.least_rows and cards + profile.fraud_cards >= bounds.least_fraud_cards
    if not enough or not profile.fraud_rate:
        return Measured(FRAUD_RATE, LABELS, None, bounds.fraud_rate_ratio, False, f"too little to judge: {says}")
    ratio = rate / profile.fraud_rate
    deviation = math.sqrt(1.0 / max(cards, 1.0) + 1.0 / max(profile.fraud_cards, 1.0))
    beyond_chance = math.exp(NormalDist().inv_cdf(1.0 - bounds.chance / 2.0) * deviation)
    limit = max(bounds.fraud_rate_ratio, beyond_chance)
    return Measured(FRAUD_RATE, LABELS, ratio, limit, not 1.0 / limit <= ratio <= limit, says)


def _loss(mature: MatureRows, bounds: DriftBounds, chance: float) -> Measured:
    """The squared error of the score of mature events in order: where did its mean last change, and is it worse?"""
    heard = ~np.isnan(mature.score)
    errors, card = (mature.score[heard] - mature.y[heard]) ** 2, mature.card[heard]
    limit = bounds.loss_ratio
    if len(errors) < bounds.least_rows:
        return Measured(LOSS, LABELS, None, limit, False, f"too little to judge: {len(errors):,} events")
    change = last_change(errors.tolist(), bounds.loss_delta)
    if change is None:
        says = f"mean squared error {float(errors.mean()):.3g}, without a change"
        return Measured(LOSS, LABELS, 1.0, limit, False, says)
    earlier, later = errors[: change.position], errors[change.position :]
    spread = math.sqrt(_variance(earlier, card[: change.position]) + _variance(later, card[change.position :]))
    reach = NormalDist().inv_cdf(1.0 - chance * LOOK_EVERY / len(errors))
    ratio = change.after / change.before if change.before else math.inf
    is_beyond = change.after - change.before > reach * spread
    says = f"mean squared error {change.before:.3g} before, {change.after:.3g} in the last {len(later):,} events"
    if not is_beyond:
        says += ", which may be chance"
    return Measured(LOSS, LABELS, ratio, limit, ratio > limit and is_beyond, says)


def _variance(values: Scores, card: NDArray[Any]) -> float:
    """Of the mean of values that come by card."""
    _, index = np.unique(card, return_inverse=True)
    off = np.bincount(index, values - values.mean())
    return float(np.sum(off**2) / len(values) ** 2)
