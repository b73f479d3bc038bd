"""How an alert stands: ok, pending, firing, resolved, and what a reading makes of it. Pure: time is an argument."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from review.alert_condition import Condition
from review.alert_reading import Reading

State = Literal["ok", "pending", "firing", "resolved"]
STATES: Final[tuple[State, ...]] = ("ok", "pending", "firing", "resolved")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One alert's state, since when, and of its last firing: when it began, who was told and who knows of it.

    `told_at_s` is when it was last told of; None where nobody heard of its beginning, or everybody of its end.
    `clear_since_s` is a moment of the watcher's own: since when a firing one has been back where it ends.
    """

    name: str
    state: State = "ok"
    since_s: float = 0.0
    fired_at_s: float | None = None
    value: float | None = None
    words: str = ""
    told_at_s: float | None = None
    acknowledged_by: str | None = None
    acknowledged_at_s: float | None = None
    clear_since_s: float | None = None

    @property
    def is_calm(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self.state in ("ok", "resolved")


def step(condition: Condition, standing: Standing, reading: Reading, now_s: float) -> Standing:
    """The standing after a reading; the same one where nothing changed.

    - ok or resolved: passing the level makes it pending, or firing at once where there is no `for`;
    - pending: firing once the level has been passed for that long without a break. A value within it ends that, and so
      does silence: what was not seen does not count;
    - firing: resolved once it has been clear for `clear_for`. Between the two levels it goes on, and in silence too:
      nobody knows that it is over.
    """
    if standing.state == "firing":
        return _ended(condition, standing, reading, now_s)
    if not reading.is_passed:
        return _turned(standing, _calm(standing), now_s, reading) if standing.state == "pending" else standing
    began_s = standing.since_s if standing.state == "pending" else now_s
    if now_s - began_s >= condition.for_s:
        fired = _turned(standing, "firing", now_s, reading)
        return msgspec.structs.replace(
            fired,
            fired_at_s=now_s,
            told_at_s=None,
            acknowledged_by=None,
            acknowledged_at_s=None,
            clear_since_s=None,
        )
    return standing if standing.state == "pending" else _turned(standing, "pending", now_s, reading)


def begun_anew(standing: Standing, now_s: float) -> Standing:
    """As a watcher that starts finds it: nobody looked meanwhile, so that what was pending is not."""
    if standing.state != "pending":
        return standing
    return msgspec.structs.replace(standing, state=_calm(standing), since_s=now_s)


def _ended(condition: Condition, standing: Standing, reading: Reading, now_s: float) -> Standing:
    if not reading.is_clear:
        kept = standing.clear_since_s is not None
        return msgspec.structs.replace(standing, clear_since_s=None) if kept else standing
    since_s = now_s if standing.clear_since_s is None else standing.clear_since_s
    if now_s - since_s >= condition.clear_for_s:
        resolved = _turned(standing, "resolved", now_s, reading)
        return msgspec.structs.replace(resolved, clear_since_s=None)
    return msgspec.structs.replace(standing, clear_since_s=since_s)


def _turned(standing: Standing, state: State, now_s: float, reading: Reading) -> Standing:
    return msgspec.structs.replace(
        standing, state=state, since_s=now_s, value=reading.value, words=reading.words, clear_since_s=None
    )


def _calm(standing: Standing) -> State:
    return "ok" if standing.fired_at_s is None else "resolved"
