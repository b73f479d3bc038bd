"""Each record of the log is in the sequence once, whoever crashes, comes back or lags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import msgspec
import pytest

from scoring.sequenced import TOPICS
from stream.connection import RedisConnection, RedisUnavailable
from stream.log import Message, Partition
from stream.records import Action, DeadLetter, Slate, decode
from stream.redis_log import RedisLog
from stream.sequence import START, Sequence, Sequenced
from tests.training.shop_records import action, item, messages, slate
from tests.until import LIMIT_S, until
from training.sequencer import GROUP, Outrun, Sequencer, sequence_forever

PLACES = [Partition(topic, number) for topic in TOPICS for number in range(2)]


class Crash(RuntimeError):
    """The process ends here."""


@pytest.fixture
def sequence(redis_url: str) -> Iterator[Sequence]:
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHDB")
        yield Sequence(connection)


def fill(log: Any, first: int = 0, count: int = 60) -> None:
    records = [item(number) for number in range(first, first + 5)]
    log.append(messages(records))
    log.append(messages(slate(number, ["i1", "i2"]) for number in range(first, first + 5)))
    log.append(messages(action(number) for number in range(first, first + count)))


def drain(log: Any, sequence: Sequence) -> Sequencer:
    """One process that works until there is nothing left."""
    sequencer = Sequencer(log, sequence)
    sequencer.catch_up(Event())
    with closing(log.consumer(GROUP, TOPICS)) as consumer:
        while sequencer.step(consumer, 24, 0):
            pass
    return sequencer


def by_source(entries: list[Sequenced]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        found[entry.source].append(entry.offset)
    return dict(found)


def of_log(log: Any) -> dict[str, list[int]]:
    found = {f"memory/{p.topic}/{p.number}": [entry.offset for entry in log.read(p, 0, 10_000)] for p in PLACES}
    return {source: offsets for source, offsets in found.items() if offsets}


def test_every_record_is_in_the_sequence_once_and_partitions_keep_their_order(log: Any, sequence: Sequence) -> None:
    fill(log)
    assert drain(log, sequence).appended == 70
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_what_was_shown_comes_before_what_was_done_with_it(log: Any, sequence: Sequence) -> None:
    log.append(messages([action(1, slate="s1"), slate(1, ["i1"]), item(1)]))
    drain(log, sequence)
    assert [entry.source.split("/")[1] for entry in sequence.read(START, 10)] == ["items", "slates", "actions"]


def test_slates_leave_their_vectors_behind_and_actions_without_item_stay_away(log: Any, sequence: Sequence) -> None:
    search = Action(event_id="q", event_timestamp=action(0).event_timestamp, action="search", user_id="u1")
    log.append(messages([slate(1, ["i1", "i2"], explored=1), search]))
    drain(log, sequence)
    (entry,) = sequence.read(START, 10)
    kept: Slate = decode(entry.payload, Slate)
    assert [(one.item_id, one.source, one.explored) for one in kept.items] == [
        ("i1", "trending", False),
        ("i2", "trending", True),
    ]
    assert (kept.vector, kept.items[0].vector) == (b"", b"")


STEPS: list[tuple[type, str]] = [(Sequencer, "_sorted"), (Sequence, "append"), (Sequence, "marks")]


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize(("owner", "step"), STEPS)
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_crash_around_any_step_leaves_what_a_clean_pass_leaves(
    log: Any, sequence: Sequence, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, nth: int, is_after: bool
) -> None:
    fill(log)
    crash_at(monkeypatch, owner, step, nth, is_after)
    for _ in range(8):
        try:
            drain(log, sequence)
            break
        except Crash:
            continue
    monkeypatch.undo()
    drain(log, sequence)
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_a_crash_before_the_commit_repeats_nothing(log: Any, sequence: Sequence) -> None:
    fill(log)
    log.failing_commits = 3
    for _ in range(3):
        with pytest.raises(ConnectionAbortedError):
            drain(log, sequence)
    drain(log, sequence)
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_an_answer_that_was_lost_does_not_append_twice(
    log: Any, sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log)
    crash_at(monkeypatch, Sequence, "append", 1, is_after=True, error=RedisUnavailable)
    with pytest.raises(RedisUnavailable):
        drain(log, sequence)
    drain(log, sequence)
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_a_sequencer_that_slept_while_another_worked_appends_nothing_twice(log: Any, sequence: Sequence) -> None:
    fill(log, count=40)
    zombie = Sequencer(log, sequence)
    polled = {part: log.read(part, 0, 1000) for part in PLACES if log.read(part, 0, 1)}
    half = {part: entries[: len(entries) // 2] for part, entries in polled.items()}
    Sequencer(log, sequence).take_in(half)
    zombie.take_in(polled)
    assert zombie.appended == 50 - sum(map(len, half.values()))
    Sequencer(log, sequence).take_in(polled)
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_two_that_both_believe_to_be_the_only_one_append_each_record_once(log: Any, sequence: Sequence) -> None:
    one, other = Sequencer(log, sequence), Sequencer(log, sequence)
    for first in range(0, 100, 20):
        fill(log, first, 20)
        for sequencer in (one, other) if first % 40 else (other, one):
            sequencer.take_in({part: log.read(part, 0, 1000) for part in PLACES})
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_whoever_is_outrun_each_time_gives_up_its_partitions(
    log: Any, sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log)
    sequencer = Sequencer(log, sequence)
    monkeypatch.setattr(Sequence, "append", lambda *_: False)
    with pytest.raises(Outrun, match="give up its partitions"):
        sequencer.take_in({part: log.read(part, 0, 1000) for part in PLACES})


def test_what_cannot_be_read_is_a_dead_letter_and_the_partition_goes_on(log: Any, sequence: Sequence) -> None:
    log.append([Message("actions", "u1", b"{"), *messages([action(1)]), Message("items", "x", b"[]")])
    sequencer = drain(log, sequence)
    letters: list[DeadLetter] = [
        decode(entry.value, DeadLetter)
        for number in range(2)
        for entry in log.read(Partition("dead-letters", number), 0, 10)
    ]
    assert sorted((letter.from_topic, letter.payload) for letter in letters) == [("actions", b"{"), ("items", b"[]")]
    assert all(letter.event_id.startswith(f"sequencer/{letter.from_topic}/") for letter in letters)
    assert (sequencer.refused, [decode(one.payload, Action).event_id for one in sequence.read(START, 9)]) == (2, ["a1"])


def test_a_record_from_the_next_century_is_a_dead_letter_that_says_why(log: Any, sequence: Sequence) -> None:
    far = msgspec.structs.replace(action(1), event_timestamp=datetime.now(UTC) + timedelta(days=36_500))
    log.append(messages([far, action(2)]))
    assert drain(log, sequence).appended == 1
    letters: list[DeadLetter] = [
        decode(entry.value, DeadLetter)
        for number in range(2)
        for entry in log.read(Partition("dead-letters", number), 0, 10)
    ]
    assert len(letters) == 1
    assert "event_timestamp" in letters[0].reason and "in the future" in letters[0].reason


def test_what_was_committed_but_lost_from_the_sequence_is_read_again(log: Any, sequence: Sequence) -> None:
    fill(log)
    drain(log, sequence)
    sequence.connection.one("FLUSHDB")
    drain(log, sequence)
    assert by_source(sequence.read(START, 1000)) == of_log(log)


def test_a_log_that_was_emptied_is_read_from_its_oldest_entry(log: Any, sequence: Sequence) -> None:
    fill(log)
    drain(log, sequence)
    log.entries.clear()
    log.commits.clear()
    log.append(messages([action(1000), action(1001)]))
    drain(log, sequence)
    newest: list[str] = [decode(entry.payload, Action).event_id for entry in sequence.read(START, 1000)[70:]]
    assert sorted(newest) == ["a1000", "a1001"]


def test_in_a_thread_over_redis_it_follows_what_comes_and_stops(sequence: Sequence, redis_url: str) -> None:
    from threading import Thread

    stop = Event()
    with closing(RedisLog(redis_url, partitions=2)) as log, RedisConnection(redis_url) as own:
        thread = Thread(target=sequence_forever, args=(log, Sequence(own), stop))
        thread.start()
        fill(log)
        try:
            until(lambda: sequence.count >= 70)
        finally:
            stop.set()
            thread.join(LIMIT_S)
        assert (sequence.count, thread.is_alive()) == (70, False)


def crash_at(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    nth: int,
    is_after: bool,
    error: Callable[[str], Exception] = Crash,
) -> None:
    """The nth call of a method ends the process, before or after it did its work."""
    real = getattr(owner, step)
    calls = 0

    def crashing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not is_after:
            raise error(step)
        found = real(*arguments, **named)
        if calls == nth:
            raise error(step)
        return found

    monkeypatch.setattr(owner, step, crashing)
