"""Notices when features are suddenly null: a field that the upstream dropped, a history that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract import Vector
from training.learner_bounds import GuardBounds

NAMED_AT_MOST = 5
Turn = Literal["block", "began", "ended"]


class Spike(msgspec.Struct):
    """From when to when vectors were broken, by event time in microseconds; `calm` counts good blocks since."""

    from_us: int
    to_us: int
    calm: int = 0


class NullState(msgspec.Struct, kw_only=True):
    """What a guard knows, as it is stored: `spike` is the one that lasts, `past` are those before it.

    `means` and `variances`, by feature, are those of the null shares of blocks; `last` is the newest block, which joins
    them when the next one was in order too. `before_us` is the newest event time of the block before, whatever it was.
    """

    blocks: int = 0
    means: list[float] = []
    variances: list[float] = []
    last: list[float] = []
    last_from_us: int = 0
    nulls: list[int] = []
    count: int = 0
    from_us: int = 0
    to_us: int = 0
    before_us: int = 0
    spike: Spike | None = None
    past: list[Spike] = []


class NullGuard:
    """Judges decisions in blocks, in the order in which they are given: by event time.

    A spike is a share of nulls far above the usual one and beyond what blocks differ by, in any feature. What is usual
    is the learner's own past, not a model's profile: a promotion must not move what the learner does. Fewer nulls are
    no spike, and neither is a share that rises over many blocks. A spike is taken to begin with the block before the
    one that showed it. While it lasts, what is usual stands still.

    A decision that came days late may be the first of a block. A block begins no earlier than the one before ended, so
    that the days between are not taken for broken; unless all of it lies before that end, which was then a time from
    the future: such a time moves the next block at most.
    """

    def __init__(self, names: Sequence[str], bounds: GuardBounds, state: NullState | None = None) -> None:
        self._names = tuple(names)
        self._bounds = bounds
        state = NullState() if state is None or len(state.nulls) != len(names) else state
        self.state = state
        zeros = [0.0] * len(names)
        self._means = np.array(state.means or zeros)
        self._variances = np.array(state.variances or zeros)
        self._nulls = np.array(state.nulls or zeros, dtype=np.int64)
        self.says = ""

    def see(self, at_us: int, vector: Vector) -> Turn | None:
        """Take one decision; says when a block is over without more, when a spike began, and when it ended."""
        state = self.state
        if not state.count:
            state.from_us = at_us
        state.to_us = max(at_us, state.to_us) if state.count else at_us
        state.count += 1
        self._nulls += ~np.isfinite(vector)
        return self._end_block() if state.count >= self._bounds.block else None

    @property
    def lasts(self) -> bool:
        """Whether a spike began and has not ended."""
        return self.state.spike is not None

    def is_broken(self, at_us: int) -> bool:
        """Whether an event of this time was scored within a spike that is over."""
        return any(spike.from_us <= at_us <= spike.to_us for spike in self.state.past)

    def accept(self) -> None:
        """What is null now is usual, and was no spike: learn anew what is usual."""
        self.state = NullState(past=self.state.past)
        for array in (self._means, self._variances, self._nulls):
            array[:] = 0

    def stored(self) -> NullState:
        """All that it knows, to be stored at once."""
        state = self.state
        state.means, state.variances = self._means.tolist(), self._variances.tolist()
        state.nulls = self._nulls.tolist()
        return state

    def _end_block(self) -> Turn:
        state = self.state
        shares = self._nulls / state.count
        if state.before_us <= state.to_us:
            state.from_us = max(state.from_us, state.before_us)
        beyond = np.flatnonzero(shares > self._limits())
        if state.blocks < self._bounds.least_blocks and state.spike is None:
            beyond = beyond[:0]
        turn: Turn = "block"
        if state.spike is not None:
            turn = self._go_on(state.spike, bool(len(beyond)))
        elif len(beyond):
            begun_us = min(state.last_from_us, state.from_us) if state.last else state.from_us
            state.spike = Spike(begun_us, state.to_us)
            self.says = self._words(shares, beyond)
            turn = "began"
        else:
            if state.last:
                self._join(np.array(state.last))
            state.last, state.last_from_us = shares.tolist(), state.from_us
        if turn != "block":
            state.last = []  # of a block beside a spike nobody knows whether it was in order
        state.count, state.before_us = 0, state.to_us
        self._nulls[:] = 0
        return turn

    def _go_on(self, spike: Spike, is_beyond: bool) -> Turn:
        if is_beyond:
            spike.calm, spike.to_us = 0, max(spike.to_us, self.state.to_us)
        else:
            spike.calm += 1
        if spike.calm < self._bounds.calm_blocks:
            return "block"
        self.state.past = [*self.state.past, spike][-self._bounds.spikes :]
        self.state.spike = None
        return "ended"

    def _limits(self) -> NDArray[np.float64]:
        """The greatest shares that are in order, by feature."""
        bounds, usual = self._bounds, self._means
        chance = usual * (1.0 - usual) / bounds.block
        spread = bounds.null_deviations * np.sqrt(np.maximum(self._variances, chance))
        by_odds = bounds.null_odds * usual / (1.0 + (bounds.null_odds - 1.0) * usual)
        limits: NDArray[np.float64] = np.maximum(by_odds, usual + np.maximum(bounds.null_change, spread))
        return limits

    def _join(self, shares: NDArray[np.float64]) -> None:
        self.state.blocks += 1
        step = 1.0 / min(self.state.blocks, self._bounds.memory_blocks)
        off = shares - self._means
        self._means += step * off
        self._variances += step * ((1.0 - step) * off**2 - self._variances)

    def _words(self, shares: NDArray[np.float64], beyond: NDArray[np.int64]) -> str:
        worst = sorted(beyond.tolist(), key=lambda place: self._means[place] - shares[place])
        named = [f"{self._names[n]} null in {shares[n]:.0%}, usually {self._means[n]:.0%}" for n in worst]
        more = f", and {len(named) - NAMED_AT_MOST} features more" if len(named) > NAMED_AT_MOST else ""
        return f"{'; '.join(named[:NAMED_AT_MOST])}{more}"
