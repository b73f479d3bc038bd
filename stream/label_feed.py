"""Labels that arrive as late as they really would."""

from __future__ import annotations

import heapq
from datetime import datetime

from stream.played import Played
from stream.records import Label


class LabelFeedFull(RuntimeError):
    """More labels wait than the feed may hold. A retry helps after `due` has been called with a later time."""


class LabelFeed:
    """Keeps the labels of played transactions until they are known, then lets them out in that order.

    At most `limit` labels wait, one played transaction in memory for each; `add` raises `LabelFeedFull` beyond it.

    >>> from datetime import UTC, timedelta
    >>> from stream.records import Transaction
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> payment = Transaction(event_id="e1", event_timestamp=noon, card_id="c1", merchant_id="m1", amount=9.5)
    >>> feed = LabelFeed()
    >>> feed.add(Played(payment, fraud=True, label_delay=timedelta(days=7)))
    >>> feed.due(noon + timedelta(days=6)), feed.pending
    ([], 1)
    >>> [(label.event_id, label.label, label.labelled_at.day) for label in feed.due(noon + timedelta(days=7))]
    [('e1', 'fraud', 8)]
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self._waiting: list[tuple[datetime, int, Played]] = []
        self._added = 0

    @property
    def pending(self) -> int:
        """How many labels wait for their time."""
        return len(self._waiting)

    def add(self, played: Played) -> None:
        """Keep one label until it is known. A transaction whose truth nobody will know is left out."""
        if played.fraud is None:
            return
        if len(self._waiting) >= self.limit:
            raise LabelFeedFull(
                f"{self.limit} labels wait already, the most that this feed holds; "
                f"take those that are due, or raise the limit"
            )
        # The count breaks ties, so that labels known at one moment keep the order in which they were added.
        heapq.heappush(self._waiting, (played.known_at, self._added, played))
        self._added += 1

    def due(self, until: datetime) -> list[Label]:
        """The labels known at `until` (inclusive), in the order in which they became known; each is given once."""
        labels = []
        while self._waiting and self._waiting[0][0] <= until:
            known_at, _, played = heapq.heappop(self._waiting)
            labels.append(_label(played, known_at))
        return labels


def _label(played: Played, known_at: datetime) -> Label:
    transaction = played.transaction
    return Label(
        event_id=transaction.event_id,
        label="fraud" if played.fraud else "legit",
        labelled_at=known_at,
        source="feed",
        event_timestamp=transaction.event_timestamp,
        card_id=transaction.card_id,
        merchant_id=transaction.merchant_id,
        device_id=transaction.device_id,
        amount=transaction.amount,
    )
