"""What the learner of recommending tells of itself and of what was recommended, and where it lies in Redis."""

from __future__ import annotations

import msgspec

REPORT_KEY = "recommendation:report"


class Clicks(msgspec.Struct):
    """How many items were shown, and on how many of them somebody acted."""

    shown: int = 0
    clicked: int = 0


class RecommenderReport(msgspec.Struct, frozen=True, kw_only=True):
    """The newest report. Counts of entries are since the sequence began, clicks since the learner started.

    `behind` is how many entries are not in the state yet; `saved` is the number of the entry that the newest snapshot
    ends with. `hit_rate` is how often, of the `hits_over` last interactions that were looked at, the item was among the
    ten that the state would have proposed the moment before; None while there are none.
    """

    number: int
    behind: int
    items: int
    visitors: int
    entries: dict[str, int]
    adopted: str = ""
    saved: int = 0
    saved_bytes: int = 0
    problem: str = ""
    hit_rate: float | None = None
    hits_over: int = 0
    by_source: dict[str, Clicks] = {}
    by_place: dict[str, Clicks] = {}
    by_scenario: dict[str, Clicks] = {}
