"""The arms of a comparison, and what shoppers did with the slates of each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from zlib import crc32

import msgspec

from stream.records import Action

ARMS = ("model", "trending", "random")
NORMAL_95 = 1.959964


def arm_of(visitor: str) -> str:
    """Which arm a visitor is in: the same one always, and one visitor in three in each.

    >>> arm_of("shopper-7") == arm_of("shopper-7")
    True
    """
    return ARMS[crc32(f"arm|{visitor}".encode()) % len(ARMS)]


class Share(msgspec.Struct, frozen=True):
    """A share of what was shown, and where it lies with 95% confidence; the interval is None below two visitors."""

    share: float
    low: float | None
    high: float | None


class ArmFigures(msgspec.Struct, frozen=True):
    """One arm in figures. `known` is the mean click probability of what was shown, as the world knows it."""

    visitors: int
    slates: int
    shown: int
    clicks: int
    purchases: int
    click_through: Share | None
    purchase_rate: Share | None
    known: float | None


class Arm:
    """What happened to the slates of one arm, by visitor. Not for two threads at a time."""

    def __init__(self) -> None:
        self._shown: defaultdict[str, int] = defaultdict(int)
        self._clicks: defaultdict[str, int] = defaultdict(int)
        self._purchases: defaultdict[str, int] = defaultdict(int)
        self._known = 0.0
        self.slates = 0

    def add(self, visitor: str, known: Sequence[float], actions: Sequence[Action]) -> None:
        """One slate: the click probability of each place, and what the visitor did. An item is clicked once."""
        self.slates += 1
        self._shown[visitor] += len(known)
        self._known += sum(known)
        self._clicks[visitor] += len({action.item_id for action in actions})
        self._purchases[visitor] += sum(action.action == "purchase" for action in actions)

    @property
    def clicks(self) -> int:
        """All clicks so far."""
        return sum(list(self._clicks.values()))

    @property
    def shown(self) -> int:
        """All items shown so far."""
        return sum(list(self._shown.values()))

    def figures(self) -> ArmFigures:
        """All of it."""
        visitors = list(self._shown)
        shown = [self._shown[each] for each in visitors]
        total = sum(shown)

        def share(of: Callable[[str], int]) -> Share | None:
            return share_of(list(map(of, visitors)), shown)

        return ArmFigures(
            visitors=len(visitors),
            slates=self.slates,
            shown=total,
            clicks=sum(self._clicks.values()),
            purchases=sum(self._purchases.values()),
            click_through=share(lambda visitor: self._clicks[visitor]),
            purchase_rate=share(lambda visitor: self._purchases[visitor]),
            known=self._known / total if total else None,
        )


def share_of(hits: Sequence[int], tries: Sequence[int]) -> Share | None:
    """Of all tries the share of hits, counted by visitor; None without tries.

    What one visitor does hangs together: the interval is that of a ratio of sums over visitors (the delta method), not
    of independent tries, and is cut at 0 and 1. It is narrow where there is no hit at all: then it says nothing.

    >>> share_of([1, 3], [10, 10]).share
    0.2
    """
    total, count = sum(tries), len(tries)
    if total == 0:
        return None
    share = sum(hits) / total
    if count < 2:
        return Share(share, None, None)
    squares = sum((hit - share * tried) ** 2 for hit, tried in zip(hits, tries, strict=True))
    half = NORMAL_95 * math.sqrt(squares * count / (count - 1)) / total
    return Share(share, max(0.0, share - half), min(1.0, share + half))
