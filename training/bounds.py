"""The bounds of the gates: one table, each with its reason. A change here is a change of what may serve."""

from __future__ import annotations

import msgspec


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger must keep to."""

    least_frauds: int = 30
    """Below this the intervals rest on a handful of cards and say little, whatever they say."""

    least_days: int = 5
    """Payments have a week: fewer days would judge weekends by workdays."""

    cards_a_day: int = 100
    """The k of card-precision@k: how many cards analysts check in a day."""

    draws: int = 500
    """Of the bootstrap by card: the ends of a 95% interval then move by some 5% of its width."""

    segment_frauds: int = 15
    """A part of the rows with fewer frauds is shown and not judged: chance alone would refuse most models."""

    segment_loss: float = 0.10
    """A part may cost up to this share more than with the champion. Beyond it a gain on the whole is no excuse, where
    the interval says that it is not chance."""

    calibration_error: float = 0.02
    """In probability. The policy multiplies it with amounts: two points of 500 are 10, about what a decline costs."""

    calibration_share: float = 0.5
    """And this share of the fraud rate at most: where fraud is rare, 0.02 would let the constant 0 through. Both count
    what is beyond chance: the error that scores would show were they the true probabilities."""

    onnx_difference: float = 1e-5
    """In probability. What float32 rounds, and less than any threshold can notice."""

    latency_ratio: float = 2.0
    """Times the champion's single-row latency, in the same process: a model twice as slow is another budget."""

    latency_floor_us: float = 100.0
    """Up to this no ratio counts: a fifth of what a whole score may take, whatever the champion takes."""

    latency_limit_us: float = 1000.0
    """Never more, champion or not: it is all that a score may take at the 99th percentile."""


BOUNDS = Bounds()
