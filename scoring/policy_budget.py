"""What the policy may spend besides money: analysts' minutes, and would-be declines let through.

Minutes are a bucket that fills at the analysts' rate up to their backlog. A review takes its minutes out; nothing is
reviewed that the bucket does not hold. Before it is empty, a price of a minute rises from 0 (full) to the highest
(empty), and a review has to save more than that: so the minutes go where they save most. The level settles where
what is worth its price arrives as fast as analysts work, whatever the traffic; nothing has to be tuned to it.

Source of the rising price: Y. Zhou, D. Chakrabarty, R. Lukose, "Budget constrained bidding in keyword auctions and
online knapsack problems", 2008.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from scoring.policy_costs import Analysts

HOUR_S = 3600.0
DAY_S = 86_400


class Budget(Protocol):
    """What is left to spend. Asked and charged by one thread; another may renew it."""

    def take_review(self, minutes: float, worth: float) -> bool:
        """Take a review's minutes if they are there and `worth` (what the review saves) exceeds their price."""

    def charge_review(self, minutes: float) -> None:
        """Take a review's minutes because a rule said so, there or not: what is owed is filled up first."""

    @property
    def may_let_through(self) -> bool:
        """Whether one more would-be decline may be let through today."""

    def charge_let_through(self) -> None:
        """One was let through. Only after `may_let_through`."""


def minute_price(used: float, highest_price: float) -> float:
    """The price of a minute, in the policy's currency, when a share of the bucket in [0, 1] is used.

    >>> [round(minute_price(used, 99.0), 2) for used in (0.0, 0.5, 1.0)]
    [0.0, 9.0, 99.0]
    """
    return float((1.0 + highest_price) ** min(max(used, 0.0), 1.0) - 1.0)


class OwnBudget:
    """The whole budget for one process: for tests, backtests and a scorer that is alone.

    Parameters
    ----------
    analysts
        None: as many reviews as save anything.
    daily_limit
        How many may be let through on one day (UTC).
    clock, calendar
        Seconds that never go back, for the bucket; seconds since 1970, for the day.
    """

    def __init__(
        self,
        analysts: Analysts | None,
        daily_limit: int = 0,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self.analysts = analysts
        self.daily_limit = daily_limit
        self.minutes = 0.0 if analysts is None else analysts.backlog_minutes
        self._clock = clock
        self._calendar = calendar
        self._filled_at_s = clock()
        self._day, self._let_through = 0, 0

    def take_review(self, minutes: float, worth: float) -> bool:
        """See `Budget`."""
        if self.analysts is None:
            return True
        self._fill(self.analysts)
        price = minute_price(1.0 - self.minutes / self.analysts.backlog_minutes, self.analysts.highest_price)
        if minutes > self.minutes or minutes * price >= worth:
            return False
        self.minutes -= minutes
        return True

    def charge_review(self, minutes: float) -> None:
        """See `Budget`."""
        if self.analysts is not None:
            self._fill(self.analysts)
            self.minutes -= minutes

    @property
    def may_let_through(self) -> bool:
        """See `Budget`."""
        day = int(self._calendar() // DAY_S)
        if day != self._day:
            self._day, self._let_through = day, 0
        return self._let_through < self.daily_limit

    def charge_let_through(self) -> None:
        """See `Budget`."""
        self._let_through += 1

    def _fill(self, analysts: Analysts) -> None:
        now_s = self._clock()
        filled = self.minutes + (now_s - self._filled_at_s) * analysts.minutes_per_hour / HOUR_S
        self.minutes, self._filled_at_s = min(analysts.backlog_minutes, filled), now_s
