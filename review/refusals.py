"""What may not be done to a case now, in sentences for whoever asked: asking again helps only when the case changes."""

from __future__ import annotations

from datetime import datetime


class UnknownCase(LookupError):
    """There is no such case."""


class Refused(ValueError):
    """The case is as it was. The words are for the analyst."""


class ClaimedBy(Refused):
    """Somebody else is at it, until `until` or as long as they go on."""

    def __init__(self, case_id: str, name: str, until: datetime) -> None:
        self.name = name
        self.until = until
        super().__init__(
            f"{name} is working on case {case_id}; it is free when they release it, or after {until:%H:%M} UTC"
        )


class NotOpen(Refused):
    """It has a verdict; reopening it, or another verdict, is what can be done."""


class NeedsAnother(Refused):
    """The policy wants a second person, and this is the first."""


class NotTheirs(Refused):
    """Somebody else gave that verdict; to change it, give another."""


class TooLate(Refused):
    """There is no verdict that can still be taken back; another verdict reverses it."""
