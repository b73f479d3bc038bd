"""The watch over a store: what is kept, who is told what, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from review.alert_book import LEASE, AlertBook, LeaseLost
from review.alert_condition import Alerts
from review.alert_history import newest
from review.alert_message import Message
from review.alert_outbox import GIVEN_UP, SENDING, AlertOutbox, Parcel
from review.alert_silence import ALL, Silences
from review.alert_tables import HISTORY, MESSAGES
from review.alert_watch import AlertWatch
from review.engine import CasesUnavailable, Database, open_engine
from review.refusals import Refused
from review.web.alert_view import alert_view
from tests.review.alert_numbers import Numbers, alerts, condition
from tests.review.quick_stores import ON_BOTH, new_store_at

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
LAG = condition("lag")
DRIFT = condition("drift", series="drift_alarms", above=0.0, clear_for=0.0)
FAILED = condition("failed", series="failed_per_s", above=0.0, clear_for=0.0, severity="ticket")


class Box:
    """A target that nobody delivers to: what is sent stays in the outbox."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.label = f"box {fingerprint}"

    def send(self, message: Message) -> None:
        raise NotImplementedError


class Shift:
    """A watch over numbers, with a clock that is turned by hand."""

    def __init__(self, database: Database, conditions: Alerts, numbers: Numbers | None = None) -> None:
        self.book = AlertBook(database)
        self.numbers = numbers or Numbers()
        self.conditions = conditions
        self.now = NOON
        self.begin()

    def begin(self) -> None:
        """As after a restart."""
        targets = [Box("a"), Box("b")]
        self.watch = AlertWatch(self.conditions, self.numbers, self.book, targets, "https://headrace.example".__add__)

    def look(self, seconds: float = 30.0, **values: float) -> list[str]:
        """Let time go by, see these values, and say what is told."""
        self.now += timedelta(seconds=seconds)
        for name, value in values.items():
            self.numbers.add(name, self.now.timestamp(), value)
        message = self.watch.look(self.now)
        return [f"{told.turn} {told.name}" for told in message.alerts] if message else []

    def state(self, name: str) -> str:
        found = self.book.standings().get(name)
        return found.state if found else "ok"

    @property
    def outbox(self) -> AlertOutbox:
        return AlertOutbox(self.book.database)


@pytest.fixture
def database(one_place: str) -> Iterator[Database]:
    new_store_at(one_place)
    engine = open_engine(one_place)
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def shift(database: Database) -> Callable[..., Shift]:
    return lambda *conditions, **fields: Shift(database, alerts(*(conditions or (LAG,)), **fields))


def taken(shift: Shift) -> list[Parcel]:
    """What is in the outbox, as if it had been delivered."""
    found: list[Parcel] = []
    while parcels := shift.outbox.take(shift.now):
        found += parcels
        for parcel in parcels:
            shift.outbox.mark_sent(parcel, shift.now)
    return found


@ON_BOTH
def test_it_tells_of_the_beginning_and_of_the_end_once_each(shift: Callable[..., Shift]) -> None:
    one = shift()
    told = [one.look(lag_s=value) for value in (3, 11, 11, 11, 11, 4, 4, 4, 4)]
    assert told == [[], [], [], ["firing lag"], [], [], [], ["resolved lag"], []]
    assert [happened.deed for happened in newest(one.book.database, 9)] == ["resolved", "firing"]
    titles = [(parcel.target, parcel.message.title) for parcel in taken(one)]
    assert sorted(titles) == [
        ("a", "[page] lag is wrong"),
        ("a", "over: lag is wrong"),
        ("b", "[page] lag is wrong"),
        ("b", "over: lag is wrong"),
    ]


def test_an_end_is_told_once_also_after_a_wait_that_came_to_nothing(shift: Callable[..., Shift]) -> None:
    one = shift()
    told = [one.look(lag_s=value) for value in (11, 11, 11, 4, 4, 4, 11, 4, 4)]
    assert [words for words in told if words] == [["firing lag"], ["resolved lag"]]
    assert one.state("lag") == "resolved"


def test_a_message_links_to_what_it_is_about_and_to_the_alert(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=2.0)
    message = taken(one)[0].message
    assert (message.alerts[0].link, message.alerts[0].alert) == (
        "https://headrace.example/",
        "https://headrace.example/alerts#drift",
    )
    assert all(words in message.text for words in ("look at it", "drift is wrong", "https://headrace.example/alerts#"))


def test_what_begins_in_the_same_look_is_told_in_one_message(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT, FAILED)
    assert one.look(drift_alarms=1.0, failed_per_s=1.0) == ["firing drift", "firing failed"]
    assert [len(parcel.message.alerts) for parcel in taken(one)] == [2, 2]


def test_a_restart_tells_nothing_twice_and_forgets_nothing(shift: Callable[..., Shift]) -> None:
    one = shift()
    for value in (11, 11, 11):
        one.look(lag_s=value)
    one.begin()
    one.now += LEASE
    assert one.look(lag_s=11) == [] and one.state("lag") == "firing"
    for value in (4, 4):
        one.look(lag_s=value)
    assert one.look(lag_s=4) == ["resolved lag"]


def test_what_was_pending_at_a_restart_waits_anew(shift: Callable[..., Shift]) -> None:
    one = shift()
    one.look(lag_s=11)
    one.begin()
    one.now += 3 * LEASE
    assert [one.look(lag_s=11) for _ in range(3)] == [[], [], ["firing lag"]]


def test_without_a_word_a_firing_alert_stays_and_says_since_when(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    assert one.look(3600.0) == [] and one.state("drift") == "firing"
    (row,) = alert_view(one.watch, one.now).firing
    assert row.says.startswith("no word since 2026-01-02 12:00:30 UTC; when it began: alarms of drift: 1")


def test_reminders_come_until_somebody_knows(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT, repeat_s=3600.0)
    one.look(drift_alarms=1.0)
    assert one.look(3500.0, drift_alarms=1.0) == []
    assert one.look(100.0, drift_alarms=1.0) == ["still firing drift"]
    fired_at = alert_view(one.watch, one.now).firing[0].fired_at
    one.book.acknowledge("drift", fired_at, "ann", one.now)
    assert one.look(7200.0, drift_alarms=1.0) == []
    with pytest.raises(Refused, match="ann"):
        one.book.acknowledge("drift", fired_at, "bob", one.now)
    assert one.look(drift_alarms=0.0) == ["resolved drift"]
    assert one.look(drift_alarms=1.0) == ["firing drift"], "the next one is somebody else's"
    with pytest.raises(Refused, match="anew"):
        one.book.acknowledge("drift", fired_at, "ann", one.now)


@pytest.mark.parametrize("name", ["drift", ALL])
def test_a_silence_keeps_messages_back_and_what_still_fires_is_told_at_its_end(
    shift: Callable[..., Shift], name: str
) -> None:
    one = shift(DRIFT)
    Silences(one.book.database).make(name, one.now + timedelta(hours=1), "a move", "ann", one.now)
    assert one.look(drift_alarms=1.0) == [] and one.state("drift") == "firing"
    assert list(one.watch.firing) == []
    assert one.look(3600.0, drift_alarms=1.0) == ["firing drift"]
    assert list(one.watch.firing) == ["drift"]


@ON_BOTH
def test_what_begins_and_ends_in_a_silence_is_never_told_of(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    silences = Silences(one.book.database)
    silences.make("drift", one.now + timedelta(hours=1), "a move", "ann", one.now)
    assert [one.look(drift_alarms=value) for value in (1.0, 0.0)] == [[], []]
    silences.end(silences.all(one.now)[0].number, "bob", one.now)
    assert one.look(drift_alarms=0.0) == [] and silences.all(one.now) == []
    (last,) = newest(one.book.database, 1)
    assert (last.deed, last.by) == ("silence ended", "bob")


def test_whoever_was_told_of_a_beginning_is_told_of_the_end_in_a_silence_too(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    Silences(one.book.database).make(ALL, one.now + timedelta(hours=1), "a move", "ann", one.now)
    assert one.look(drift_alarms=0.0) == ["resolved drift"]


@pytest.mark.parametrize(("hours", "why"), [(0, "x"), (31 * 24, "x"), (1, " "), (1, "x" * 301)])
def test_a_silence_without_end_or_reason_is_refused(shift: Callable[..., Shift], hours: int, why: str) -> None:
    one = shift()
    with pytest.raises(Refused):
        Silences(one.book.database).make(ALL, NOON + timedelta(hours=hours), why, "ann", NOON)


@ON_BOTH
def test_of_two_processes_one_watches_and_the_other_when_that_one_is_gone(database: Database) -> None:
    numbers = Numbers()
    first, second = (Shift(database, alerts(DRIFT), numbers) for _ in range(2))
    assert first.look(drift_alarms=1.0) == ["firing drift"]
    assert second.look() == [] and second.watch.firing == ("drift",), "it only sees how things stand"
    assert second.look(10.0, drift_alarms=0.0) == []
    second.now += LEASE
    assert second.look(drift_alarms=0.0) == ["resolved drift"]


@ON_BOTH
def test_whoever_lost_the_lease_keeps_nothing(database: Database) -> None:
    one = AlertBook(database)
    assert one.lead("first", NOON) and one.lead("second", NOON + LEASE)
    with pytest.raises(LeaseLost):
        one.keep("first", [], [], [], NOON + LEASE)


def test_an_alert_that_the_file_has_no_more_is_dropped(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    one.conditions = alerts(LAG)
    one.begin()
    one.now += LEASE
    one.look()
    assert one.state("drift") == "resolved" and newest(one.book.database, 1)[0].deed == "dropped"


@ON_BOTH
def test_a_store_that_fails_between_state_and_message_keeps_neither(
    shift: Callable[..., Shift], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shift(DRIFT)

    def fails(*_: object) -> None:
        raise CasesUnavailable("full")

    with monkeypatch.context() as broken:
        broken.setattr("review.alert_book.add", fails)
        with pytest.raises(CasesUnavailable):
            one.look(drift_alarms=1.0)
    assert one.state("drift") == "ok"
    assert one.look(drift_alarms=1.0) == ["firing drift"]


@ON_BOTH
def test_a_target_gets_its_messages_in_turn_and_a_failing_one_holds_up_no_other(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    one.look(drift_alarms=0.0)
    first = one.outbox.take(one.now)
    assert [(parcel.target, parcel.message.alerts[0].turn) for parcel in first] == [("a", "firing"), ("b", "firing")]
    one.outbox.mark_failed(first[0], "it answered 500", one.now)
    one.outbox.mark_sent(first[1], one.now)
    assert [(one.target, one.message.alerts[0].turn) for one in one.outbox.take(one.now)] == [("b", "resolved")]
    (again,) = one.outbox.take(one.now + timedelta(seconds=5))
    assert (again.target, again.tries, again.message.alerts[0].turn) == ("a", 2, "firing")
    assert again.message.id == first[0].message.id
    assert one.outbox.troubled()[0].problem == "it answered 500"


def test_a_message_that_somebody_took_and_did_not_bring_is_taken_again(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    assert len(one.outbox.take(one.now)) == 2
    assert one.outbox.take(one.now) == []
    assert len(one.outbox.take(one.now + SENDING)) == 2


def test_after_a_day_a_message_is_given_up_and_the_history_says_so(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    for parcel in one.outbox.take(one.now):
        one.outbox.mark_failed(parcel, "it answered 500", one.now + GIVEN_UP)
    assert one.outbox.take(one.now + 2 * GIVEN_UP) == []
    assert {parcel.fate for parcel in one.outbox.troubled()} == {"given up"}
    assert newest(one.book.database, 1)[0].text == "to box b, after 1 try: it answered 500"


@ON_BOTH
def test_the_history_is_only_added_to(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    with pytest.raises(Exception, match="append-only"), one.book.database.writing() as db:
        db.execute(update(HISTORY).values(by="mallory"))


@ON_BOTH
def test_a_message_is_in_the_outbox_once_for_each_target(shift: Callable[..., Shift]) -> None:
    one = shift(DRIFT)
    one.look(drift_alarms=1.0)
    message = one.outbox.take(one.now)[0].message
    one.book.keep(one.watch._holder, [], [], [("a", "box a", message)], one.now)
    with one.book.database.reading() as db:
        assert sorted(db.execute(select(MESSAGES.c.target)).scalars()) == ["a", "b"]
