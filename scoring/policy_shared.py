"""One budget for all processes of a use case, without a round trip in any answer.

Redis holds the bucket of analysts' minutes and the count of the day's let-throughs. Every process *leases* a little of
both and spends its lease in memory; the service's background thread settles twice a second: it takes as much as the
process may need until the next time, at most a quarter of what is left, and gives back what it does not need.

- What is leased is counted as used until it is given back, so all processes together never spend more than there is.
- A lease ends by itself: 5 s after it was asked for by the process's clock, 10 s by Redis's, where no process that
  stopped or hangs can keep minutes from the others for longer. The later end is Redis's, so no lease is spent twice.
- Without Redis no new minutes come: after 5 s nothing is reviewed by price, only by rules; declines stand.
- Reviews by rule are not refused. Their minutes are owed and filled up before others are reviewed; at most a whole
  backlog is owed.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from threading import Lock

from prometheus_client import Counter, Gauge

from scoring.background import Background
from scoring.policy import Policy
from scoring.policy_budget import DAY_S, HOUR_S, minute_price
from scoring.policy_costs import Analysts
from stream.connection import RedisConnection, RedisError, RedisUnavailable

SETTLE_INTERVAL_S = 0.5
LEASE_S = 5.0
LEASE_KEPT_MS = 10_000
REVIEWS_AHEAD = 4.0
SPEND_AHEAD = 2.0
SETTLE_TIMEOUT_MS = 200.0

PRICE = Gauge(
    "headrace_review_minute_price",
    "What a review must save per analyst minute now, in the policy's currency.",
    multiprocess_mode="max",
)
FREE = Gauge("headrace_review_minutes_free", "Analyst minutes not taken, all processes.", multiprocess_mode="min")
TURNED_AWAY = Counter("headrace_reviews_turned_away", "Reviews that would have saved money, and had no analyst.")

_SETTLE = """
local id, rate, size, kept, owed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local more, least, lease_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local limit, lease_day, unused, wanted = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local today = math.floor(time[1] / 86400)
local level, at_ms, day, let_through = size, now_ms, today, 0
local leased = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local name, value = all[i], all[i + 1]
    if name == 'level' then level = tonumber(value)
    elseif name == 'at_ms' then at_ms = tonumber(value)
    elseif name == 'day' then day = tonumber(value)
    elseif name == 'let_through' then let_through = tonumber(value)
    elseif name ~= 'lease:' .. id then
        local minutes, until_ms = string.match(value, '^(%S+) (%S+)$')
        if tonumber(until_ms) < now_ms then redis.call('HDEL', KEYS[1], name)
        else leased = leased + tonumber(minutes) end
    end
end
-- What is leased still belongs to the bucket: it fills no further than its size with that counted in.
local given = math.max(0, -more)
level = math.min(level + math.max(0, now_ms - at_ms) / 60000 * rate, size - leased - kept - given)
level = math.max(level + given - owed, -size)
local granted = math.max(0, math.min(more, level, math.max(level / 4, least)))
level = level - granted
if day ~= today then let_through = 0 end
if lease_day == today then let_through = math.max(0, let_through - unused) end
local left = limit - let_through
local lets = math.max(0, math.min(wanted, left, math.max(1, math.floor(left / 4))))
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'at_ms', string.format('%d', now_ms), 'day', today,
    'let_through', let_through + lets, 'lease:' .. id,
    string.format('%.17g', kept + granted) .. ' ' .. string.format('%d', now_ms + lease_ms))
redis.call('PEXPIRE', KEYS[1], 172800000)
return {string.format('%.17g', granted), string.format('%.17g', level + leased + kept + granted), lets, today}
"""


def budget_key(use_case: str) -> str:
    """Where Redis keeps the budget of a use case."""
    return f"budget:{use_case}"


class SharedBudget:
    """A process's part of the budget (`Budget`), renewed by a thread of its own. `problem` says what is wrong with it.

    Parameters
    ----------
    connection
        Of its own: used by the background thread alone.
    analysts, daily_limit
        The policy's. None: reviews are not bounded.
    longest_review_minutes
        The most that one review takes in any segment: a lease holds at least that, where there is as much.
    clock, calendar
        Seconds that never go back; seconds since 1970.
    """

    def __init__(
        self,
        connection: RedisConnection,
        use_case: str,
        analysts: Analysts | None,
        daily_limit: int,
        longest_review_minutes: float,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self.analysts = analysts
        self.daily_limit = daily_limit
        self.problem = ""
        self.failures = 0
        self._connection = connection
        self._script = connection.script(_SETTLE)
        self._key = budget_key(use_case)
        self._id = secrets.token_hex(8)
        self._longest = longest_review_minutes
        self._clock, self._calendar = clock, calendar
        self._lock = Lock()
        self._minutes, self._owed, self._spent, self._recent = 0.0, 0.0, 0.0, 0.0
        self._free = 0.0
        self._let_throughs, self._let_used, self._let_recent, self._day = 0, 0, 0, 0
        self._ends_at_s = -math.inf
        self._background = Background("budget-feed", self.refresh, SETTLE_INTERVAL_S)

    @classmethod
    def of(cls, policy: Policy, connection: RedisConnection, use_case: str) -> SharedBudget:
        """The budget of a policy."""
        longest = max(costs.review_minutes for costs in (policy.default, *(one.costs for one in policy.segments)))
        return cls(connection, use_case, policy.analysts, policy.let_through.daily_limit, longest)

    @property
    def problems(self) -> dict[str, str]:
        """The problem under the name that feeds have for theirs."""
        return {"budget": self.problem} if self.problem else {}

    def take_review(self, minutes: float, worth: float) -> bool:
        """See `Budget`."""
        if self.analysts is None:
            return True
        with self._lock:
            if minutes <= self._minutes and minutes * self._price(self.analysts) < worth and self._is_live():
                self._minutes -= minutes
                self._spent += minutes
                self._free -= minutes
                return True
        TURNED_AWAY.inc()
        return False

    def charge_review(self, minutes: float) -> None:
        """See `Budget`."""
        if self.analysts is None:
            return
        with self._lock:
            held = min(minutes, self._minutes) if self._is_live() else 0.0
            self._minutes -= held
            self._owed += minutes - held
            self._spent += minutes
            self._free -= minutes

    @property
    def may_let_through(self) -> bool:
        """See `Budget`."""
        with self._lock:
            return self._let_throughs > 0 and self._is_live() and int(self._calendar() // DAY_S) == self._day

    def charge_let_through(self) -> None:
        """See `Budget`."""
        with self._lock:
            self._let_throughs -= 1
            self._let_used += 1

    def start(self) -> None:
        """Lease for the first time, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the background thread, if it was started, give everything back and close the connection."""
        self._background.stop()
        self._settle(closing=True)
        self._connection.close()

    def refresh(self) -> None:
        """Settle with Redis: tell what was spent, lease what is needed next. Never raises; `problem` says what failed.

        What was to be given back or leased while Redis did not answer is lost to all until its lease ends.
        """
        self._settle(closing=False)

    def _settle(self, closing: bool) -> None:
        with self._lock:
            if not self._is_live():  # by now it may be somebody else's
                self._minutes, self._let_throughs = 0.0, 0
            # A lull of one round is no reason to give everything back.
            self._recent = max(self._spent, self._recent / 2)
            wanted = 0.0 if closing else max(SPEND_AHEAD * self._recent, REVIEWS_AHEAD * self._longest)
            more = wanted - self._minutes
            kept, self._minutes = min(self._minutes, wanted), min(self._minutes, wanted)
            owed, self._owed, self._spent = self._owed, 0.0, 0.0
            unused, self._let_throughs = max(0, self._let_throughs), 0
            self._let_recent, self._let_used = max(self._let_used, self._let_recent // 2), 0
            let_wanted = 0 if closing else 1 + int(SPEND_AHEAD) * self._let_recent
            asked_at_s = self._clock()
        try:
            reply = self._connection.call(
                [self._script.command([self._key], self._arguments(kept, owed, more, unused, let_wanted))],
                SETTLE_TIMEOUT_MS,
            )[0]
            if isinstance(reply, RedisError):
                raise reply
        except (RedisUnavailable, RedisError) as error:
            self.problem = f"the analysts' time is not shared: {error}"
            self.failures += 1
            with self._lock:
                self._owed += owed
            return
        self.problem = ""
        with self._lock:
            self._minutes += float(reply[0])
            self._free = float(reply[1]) - self._spent  # what was spent while Redis was asked
            self._let_throughs += int(reply[2])  # one may have been let through meanwhile
            self._day = int(reply[3])
            self._ends_at_s = asked_at_s + LEASE_S
            if self.analysts is not None:
                PRICE.set(self._price(self.analysts))
                FREE.set(self._free)

    def _arguments(
        self, kept: float, owed: float, more: float, unused: int, let_wanted: int
    ) -> list[str | int | float]:
        rate = 0.0 if self.analysts is None else self.analysts.minutes_per_hour * 60 / HOUR_S
        size = 0.0 if self.analysts is None else self.analysts.backlog_minutes
        return [
            *(self._id, repr(rate), repr(size), repr(kept), repr(owed), repr(more), repr(self._longest)),
            *(LEASE_KEPT_MS, self.daily_limit, self._day, unused, let_wanted),
        ]

    def _price(self, analysts: Analysts) -> float:
        return minute_price(1.0 - self._free / analysts.backlog_minutes, analysts.highest_price)

    def _is_live(self) -> bool:
        return self._clock() < self._ends_at_s
