"""Losses of the learner and of its twin on the same labels: has the learner's risen, and is it worse than the twin?"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from models.change_point import last_change
from training.learner_bounds import GuardBounds
from training.metrics import Labels, Scores, auc, average_precision

LEAST_PROBABILITY = 1e-6
"""Probabilities are held to this far from 0 and 1 before a logarithm: one sure mistake must not be all of a loss."""


class Pair(NamedTuple):
    """What both said of one event before its label taught anything, and what it was."""

    is_fraud: bool
    live: float
    twin: float


class Comparison(NamedTuple):
    """Mean log losses over the labels since the twin was made; `least_worse` is how much worse the learner surely is,
    negative where it may be better."""

    labels: int
    frauds: int
    live: float
    twin: float
    least_worse: float


class Quality(NamedTuple):
    """How good the learner was over the latest labels (None: one class is missing)."""

    labels: int
    log_loss: float
    auc: float | None
    average_precision: float | None


class PairedLosses:
    """The latest pairs, oldest first; of them `with_twin` are about the present twin."""

    def __init__(self, bounds: GuardBounds) -> None:
        self._bounds = bounds
        self._pairs: deque[Pair] = deque(maxlen=bounds.window)
        self.with_twin = 0

    @classmethod
    def of(cls, pairs: Iterable[Pair], with_twin: int, bounds: GuardBounds | None = None) -> PairedLosses:
        """As they were stored, oldest first."""
        losses = cls(GuardBounds() if bounds is None else bounds)
        losses._pairs.extend(pairs)
        losses.with_twin = min(with_twin, len(losses))
        return losses

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, pair: Pair) -> None:
        """One more label."""
        self._pairs.append(pair)
        self.with_twin = min(self.with_twin + 1, self._bounds.window)

    def clear(self) -> None:
        """Forget all: what comes is about other weights."""
        self._pairs.clear()
        self.with_twin = 0

    def comparison(self) -> Comparison | None:
        """Learner against twin, label by label; None before the first label of this twin."""
        if not self.with_twin:
            return None
        is_fraud, live, twin = self._columns(self.with_twin)
        of_live, of_twin = log_losses(is_fraud, live), log_losses(is_fraud, twin)
        worse = of_live - of_twin
        error = float(worse.std()) / math.sqrt(len(worse))
        return Comparison(
            labels=len(worse),
            frauds=int(is_fraud.sum()),
            live=float(of_live.mean()),
            twin=float(of_twin.mean()),
            least_worse=float(worse.mean()) - self._bounds.twin_deviations * error,
        )

    def quality(self) -> Quality | None:
        """Of the learner, over all pairs; None before the first."""
        if not self._pairs:
            return None
        is_fraud, live, _ = self._columns(len(self._pairs))
        loss = float(log_losses(is_fraud, live).mean())
        return Quality(len(is_fraud), loss, auc(is_fraud, live), average_precision(is_fraud, live))

    def worse_than_twin(self, found: Comparison | None) -> str:
        """In words, if by this comparison the learner is worse beyond chance and by more than a trifle; else empty."""
        bounds = self._bounds
        if found is None or found.labels < bounds.least_labels or found.frauds < bounds.least_frauds:
            return ""
        if found.least_worse <= 0.0 or found.live <= bounds.twin_ratio * found.twin:
            return ""
        return (
            f"mean log loss {found.live:.4g}, that of the weights before, which do not learn, {found.twin:.4g}: "
            f"over {found.labels:,} labels with {found.frauds:,} frauds"
        )

    def risen(self) -> str:
        """In words, if the loss has risen beyond chance and by much; else empty. A loss that falls is none."""
        bounds = self._bounds
        if len(self._pairs) < 2 * bounds.least_labels:
            return ""
        is_fraud, live, _ = self._columns(len(self._pairs))
        errors = (live - is_fraud) ** 2
        change = last_change(errors.tolist(), bounds.loss_delta)
        if change is None or change.after <= bounds.loss_ratio * change.before:
            return ""
        earlier, later = errors[: change.position], errors[change.position :]
        if min(len(earlier), len(later)) < bounds.least_labels:
            return ""
        error = math.sqrt(float(earlier.var()) / len(earlier) + float(later.var()) / len(later))
        if change.after - change.before <= bounds.loss_deviations * error:
            return ""
        return f"mean squared error {change.before:.3g} before, {change.after:.3g} over the last {len(later):,} labels"

    def _columns(self, count: int) -> tuple[Labels, Scores, Scores]:
        latest = list(self._pairs)[len(self._pairs) - count :]
        is_fraud = np.fromiter((pair.is_fraud for pair in latest), np.int8, count)
        live = np.fromiter((pair.live for pair in latest), np.float64, count)
        return is_fraud, live, np.fromiter((pair.twin for pair in latest), np.float64, count)


def log_losses(is_fraud: Labels, score: Scores) -> Scores:
    """The log loss of each probability, at most about 14."""
    said = np.clip(np.where(is_fraud != 0, score, 1.0 - score), LEAST_PROBABILITY, 1.0)
    losses: Scores = -np.log(said)
    return losses
