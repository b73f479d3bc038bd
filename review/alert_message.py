"""What people and other systems are told: one message for all alerts that turned in the same look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import msgspec

from review.alert_condition import Severity

Turn = Literal["firing", "still firing", "resolved", "test"]
TITLES_SHOWN = 3


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a message. `link` is the whole address of what it is about, `alert` that of the alert itself."""

    name: str
    title: str
    turn: Turn
    severity: Severity
    value: float | None
    words: str
    since: datetime
    link: str
    alert: str
    remedy: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the same whenever it is sent, so that who gets it twice can tell."""

    id: str
    at: datetime
    alerts: tuple[Told, ...]

    @property
    def title(self) -> str:
        """A line that says what turned, the most urgent first."""
        parts = []
        for turn, words in (("firing", ""), ("still firing", "still: "), ("resolved", "over: "), ("test", "")):
            titles = [told.title for told in self.alerts if told.turn == turn]
            if titles:
                more = f" and {len(titles) - TITLES_SHOWN} more" if len(titles) > TITLES_SHOWN else ""
                parts.append(f"{words}{', '.join(titles[:TITLES_SHOWN])}{more}")
        mark = "[page] " if any(told.severity == "page" and told.turn != "resolved" for told in self.alerts) else ""
        return f"{mark}{'; '.join(parts)}"

    @property
    def text(self) -> str:
        """All of it, for people."""
        return "\n\n".join(_paragraph(told) for told in self.alerts)


def message(at: datetime, alerts: Sequence[Told]) -> Message:
    """A message about these, whose id follows from what they say: made twice, it is the same."""
    ordered = tuple(sorted(alerts, key=lambda told: (told.turn, told.severity, told.name)))
    of = "\n".join(f"{told.turn} {told.name} {told.since.isoformat()}" for told in ordered)
    repeats = f"\n{at.isoformat()}" if any(told.turn in ("still firing", "test") for told in ordered) else ""
    return Message(id=sha256(f"{of}{repeats}".encode()).hexdigest()[:32], at=at, alerts=ordered)


def _paragraph(told: Told) -> str:
    since = f"{told.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    lines = [
        f"{told.title} ({told.turn}, {told.severity}, since {since})",
        f"{told.words[:1].upper()}{told.words[1:]}.",
    ]
    if told.turn != "resolved":
        lines.append(f"What to do: {told.remedy}.")
    return "\n".join([*lines, told.link, told.alert])
