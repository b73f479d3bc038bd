"""A transaction as it is played back, with what it will turn out to be and when that becomes known."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from stream.records import Transaction


class Played(msgspec.Struct, frozen=True, gc=False):
    """One transaction of a file or of the simulator, and its future label.

    `fraud` is None where nobody will ever know. The trap: `fraud` lies in the future. Nothing that scores may read it
    before `known_at`; give it to a `LabelFeed`, which lets it out in time.
    """

    transaction: Transaction
    fraud: bool | None
    label_delay: timedelta

    @property
    def known_at(self) -> datetime:
        """When the label becomes known: the time of the event plus the delay."""
        return self.transaction.event_timestamp + self.label_delay
