"""How many requests a key may still make: one token bucket for all processes, without a round trip in any answer.

As analysts' minutes are (`scoring/policy_shared.py`), tokens are *leased*: Redis holds each key's bucket, every process
holds some of its tokens and spends them in memory, and settles four times a second in the background.

- What is leased is not in the bucket, and both together never exceed the burst. So in any `t` seconds all processes
  together admit at most `burst + rate * t`.
- A process is given its share of the bucket by what it was asked for lately, so a caller with a single connection gets
  all of the rate; where nobody asks, all processes hold equal shares. After a change of who is asked it takes some two
  seconds until the tokens are where they are needed, and a request may be refused though others still hold some.
- A lease ends 5 s after it was asked for by the process's clock, 10 s by Redis's: none is spent twice.
- Without Redis each process goes on with its n-th part of rate and burst, by the number of processes seen last: the sum
  stays as it was, and nobody is turned away because Redis is. What was admitted so is owed when it is back.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from stream.connection import RedisConnection, RedisError, RedisUnavailable

LEASE_S = 5.0
LEASE_KEPT_MS = 10_000
IDLE_ROUNDS = 4
"""A key that nobody asks for, here or elsewhere, settles in every fourth round."""
SETTLE_TIMEOUT_MS = 200.0

_SETTLE = """
local id, rate, burst, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local given, owed, wish, lease_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local level, at_ms = burst, now_ms
local leased, wishes, members, own = 0, wish, 1, kept + given
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local name, value = all[i], all[i + 1]
    if name == 'level' then level = tonumber(value)
    elseif name == 'at_ms' then at_ms = tonumber(value)
    else
        local tokens, wished, until_ms = string.match(value, '^(%S+) (%S+) (%S+)$')
        if name == 'lease:' .. id then own = math.max(own, tonumber(tokens))
        elseif tonumber(until_ms) < now_ms then redis.call('HDEL', KEYS[1], name)
        else leased, wishes, members = leased + tonumber(tokens), wishes + tonumber(wished), members + 1 end
    end
end
-- What is leased belongs to the bucket: it fills no further than the burst less that. Of this process it is what it
-- held when it last settled: when it spent of it is not known, and until then nothing had room to come.
level = math.min(level + math.max(0, now_ms - at_ms) / 1000 * rate, burst - leased - own)
level = math.max(0, level + given - owed)
local share = wishes > 0 and burst * wish / wishes or burst / members
share = math.floor(share + 1e-9)
local granted = math.max(0, math.min(share - kept, math.floor(level)))
if lease_ms == 0 then
    granted = 0
    redis.call('HDEL', KEYS[1], 'lease:' .. id)
else
    redis.call('HSET', KEYS[1], 'lease:' .. id, string.format('%d %.17g %d', kept + granted, wish, now_ms + lease_ms))
end
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level - granted), 'at_ms', string.format('%d', now_ms))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 60000)
return {granted, share, members, wishes > 0 and 1 or 0}
"""


def allowance_key(key_id: str) -> str:
    """Where Redis keeps the bucket of a key."""
    return f"allowance:{key_id}"


class Part(NamedTuple):
    """What a process tells Redis when it settles: tokens it keeps, gives back and owes, and what it was asked for."""

    kept: int
    given: int
    owed: int
    wish: float
    at_s: float


class Allowance:
    """A process's part of one key's requests: `take` on the thread that answers, the rest on the one that settles."""

    def __init__(
        self, rate_per_s: float, burst: int, processes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate_per_s, self.burst = rate_per_s, burst
        self._clock = clock
        self._lock = Lock()
        self._tokens, self._ends_at_s = 0, -math.inf
        self._share, self._members = 0, processes
        self._asked, self._recent, self._wished = 0, 0.0, True
        self._is_alone, self._own, self._own_at_s, self._owed = False, 0.0, 0.0, 0

    def take(self, cost: int = 1) -> bool:
        """Take tokens, all or none. Without Redis: from the process's own part of the rate."""
        with self._lock:
            self._asked += cost
            now_s = self._clock()
            if now_s >= self._ends_at_s:
                self._tokens = 0  # by now they may be somebody else's
            if cost <= self._tokens:
                self._tokens -= cost
                return True
            if not self._is_alone:
                return False
            gained = (now_s - self._own_at_s) * self.rate_per_s / self._members
            self._own, self._own_at_s = min(self._own + gained, self.burst / self._members), now_s
            if cost > self._own:
                return False
            self._own -= cost
            self._owed += cost
            return True

    def wait_s(self, cost: int = 1) -> int:
        """Whole seconds, at least 1, after which the bucket has that much if nobody else takes it."""
        return max(1, math.ceil(cost / self.rate_per_s))

    def is_due(self, turn: int) -> bool:
        """Whether to settle in this round."""
        return self._asked > 0 or self._recent > 0 or self._wished or self._tokens > self._share or not turn

    def part(self, closing: bool = False) -> Part:
        """What to tell Redis. What is given back is gone from here at once."""
        with self._lock:
            now_s = self._clock()
            if now_s >= self._ends_at_s:
                self._tokens = 0
            # A lull of one round is no reason to give everything back.
            self._recent = max(float(self._asked), self._recent / 2)
            if self._recent < 0.5:
                self._recent = 0.0
            self._asked = 0
            given = self._tokens if closing else max(0, self._tokens - self._share)
            self._tokens -= given
            owed, self._owed = self._owed, 0
            return Part(self._tokens, given, owed, 0.0 if closing else self._recent, now_s)

    def settled(self, part: Part, granted: int, share: int, members: int, wished: bool) -> None:
        """What Redis answered."""
        with self._lock:
            self._tokens += granted
            self._share, self._members, self._wished = share, max(1, members), wished
            self._ends_at_s = part.at_s + LEASE_S
            self._is_alone = False

    def unsettled(self, part: Part | None = None) -> None:
        """Redis did not answer. What was given back is lost to all until it is filled up again."""
        with self._lock:
            self._owed += 0 if part is None else part.owed
            if not self._is_alone:
                self._is_alone, self._own, self._own_at_s = True, 0.0, self._clock()


class Allowances:
    """The allowances of all keys that have a rate, settled together. One thread settles."""

    def __init__(self, connection: RedisConnection, processes: int = 1) -> None:
        self._connection = connection
        self._processes = processes
        self._script = connection.script(_SETTLE)
        self._id = secrets.token_hex(8)
        self._kept: dict[str, Allowance] = {}
        self._round = 0

    def of(self, key_id: str, rate_per_s: float, burst: int) -> Allowance:
        """The allowance of a key: the same one as long as its numbers are the same."""
        found = self._kept.get(key_id)
        if found is None or (found.rate_per_s, found.burst) != (rate_per_s, burst):
            found = self._kept[key_id] = Allowance(rate_per_s, burst, self._processes)
        return found

    def keep_only(self, key_ids: Iterable[str]) -> None:
        """Forget all other keys; their leases end by themselves."""
        wanted = set(key_ids)
        self._kept = {key_id: one for key_id, one in self._kept.items() if key_id in wanted}

    def go_alone(self) -> None:
        """Redis does not answer: each goes on with its own part."""
        for one in self._kept.values():
            one.unsettled()

    def settle(self, closing: bool = False) -> None:
        """One round, in one round trip. Raises `RedisUnavailable` and `RedisError`; then `go_alone`."""
        self._round += 1
        due = [
            (key_id, one, one.part(closing))
            for place, (key_id, one) in enumerate(self._kept.items())
            if closing or one.is_due((self._round + place) % IDLE_ROUNDS)
        ]
        if not due:
            return
        lease_ms = 0 if closing else LEASE_KEPT_MS
        commands = [
            self._script.command(
                [allowance_key(key_id)],
                [self._id, repr(one.rate_per_s), one.burst, *part[:3], repr(part.wish), lease_ms],
            )
            for key_id, one, part in due
        ]
        try:
            replies = self._connection.call(commands, SETTLE_TIMEOUT_MS)
        except RedisUnavailable:
            for _, one, part in due:
                one.unsettled(part)
            raise
        failure = None
        for (_, one, part), reply in zip(due, replies, strict=True):
            if isinstance(reply, RedisError):
                one.unsettled(part)
                failure = reply
            else:
                granted, share, members, wished = reply
                one.settled(part, granted, share, members, bool(wished))
        if failure is not None:
            raise failure
