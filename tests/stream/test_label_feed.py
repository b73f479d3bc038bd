from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stream.label_feed import LabelFeed, LabelFeedFull
from stream.played import Played
from stream.records import Transaction

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _played(event_id: str, fraud: bool | None, days: int, at: datetime = NOON) -> Played:
    transaction = Transaction(
        event_id=event_id, event_timestamp=at, card_id="card-1", merchant_id="shop-1", device_id="phone-1", amount=12.5
    )
    return Played(transaction, fraud, timedelta(days=days))


def test_a_label_comes_out_at_the_moment_it_is_known_and_not_before() -> None:
    feed = LabelFeed()
    feed.add(_played("e1", True, days=7))
    assert feed.due(NOON + timedelta(days=7) - timedelta(microseconds=1)) == []
    (label,) = feed.due(NOON + timedelta(days=7))
    assert label.label == "fraud"
    assert label.labelled_at == NOON + timedelta(days=7)


def test_a_label_comes_out_once() -> None:
    feed = LabelFeed()
    feed.add(_played("e1", False, days=1))
    assert len(feed.due(NOON + timedelta(days=2))) == 1
    assert feed.due(NOON + timedelta(days=3)) == []


def test_labels_come_in_the_order_in_which_they_become_known() -> None:
    feed = LabelFeed()
    for event_id, days in (("late", 9), ("early", 2), ("middle", 5), ("early-too", 2)):
        feed.add(_played(event_id, False, days))
    due = feed.due(NOON + timedelta(days=10))
    assert [label.event_id for label in due] == ["early", "early-too", "middle", "late"]


def test_a_label_says_whose_event_it_was() -> None:
    feed = LabelFeed()
    feed.add(_played("e1", False, days=1))
    (label,) = feed.due(NOON + timedelta(days=1))
    assert (label.event_id, label.label, label.source) == ("e1", "legit", "feed")
    assert (label.card_id, label.merchant_id, label.device_id) == ("card-1", "shop-1", "phone-1")
    assert (label.amount, label.event_timestamp) == (12.5, NOON)


def test_what_nobody_will_ever_know_gives_no_label() -> None:
    feed = LabelFeed()
    feed.add(_played("e1", None, days=1))
    assert feed.pending == 0
    assert feed.due(NOON + timedelta(days=2)) == []


def test_pending_counts_the_labels_that_wait() -> None:
    feed = LabelFeed()
    feed.add(_played("e1", True, days=1))
    feed.add(_played("e2", True, days=3))
    assert feed.pending == 2
    feed.due(NOON + timedelta(days=2))
    assert feed.pending == 1


def test_a_full_feed_refuses_until_labels_are_taken() -> None:
    feed = LabelFeed(limit=1)
    feed.add(_played("e1", True, days=1))
    with pytest.raises(LabelFeedFull, match="1 labels wait already"):
        feed.add(_played("e2", True, days=1))
    feed.due(NOON + timedelta(days=1))
    feed.add(_played("e2", True, days=1))
    assert feed.pending == 1
