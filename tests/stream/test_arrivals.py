"""The archive as one stream: which order it has, and where it begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from stream.archive import Archive, day_of
from stream.archive_note import read_note, write_note
from stream.arrivals import arrivals
from stream.log import Entry, Partition
from stream.records import Label, encode, from_micros
from stream.redis_keys import SEQUENCE_BITS
from tests.oracle import DAY, HOUR, T0_US, payment

ONE, OTHER, LABELS = Partition("transactions", 0), Partition("transactions", 1), Partition("labels", 0)
TOPICS = ("transactions", "labels")
Placed = Sequence[tuple[Partition, int, Any]]


def stored(directory: Path, name: str, placed: Placed) -> Archive:
    batch: dict[Partition, list[Entry]] = {}
    for partition, offset, record in placed:
        batch.setdefault(partition, []).append(Entry(offset, record.key, encode(record)))
    with Archive(directory) as archive:
        archive.write(name, batch)
    return archive


def at(ms: int, sequence: int = 0) -> int:
    """The offset of a Redis log."""
    return (ms << SEQUENCE_BITS) + sequence


def ids(archive: Archive, **options: Any) -> list[str]:
    return [one.record.event_id for one in arrivals(archive, TOPICS, **options)]


def label(number: int, at_us: int) -> Label:
    return Label(event_id=f"label{number}", label="fraud", labelled_at=from_micros(at_us))


def test_a_redis_log_comes_as_it_arrived_whatever_the_records_times(tmp_path: Path) -> None:
    archive = stored(
        tmp_path,
        "redis",
        [
            (ONE, at(1), payment(0, T0_US + DAY)),
            (ONE, at(4), payment(3, T0_US)),
            (OTHER, at(2), payment(1, T0_US + 2 * DAY)),
            (OTHER, at(5, 7), payment(5, T0_US)),
            (LABELS, at(3), label(2, T0_US + DAY)),
            # Of one millisecond: after the payments.
            (LABELS, at(5, 1), label(6, T0_US + DAY)),
        ],
    )
    assert ids(archive) == ["e0", "e1", "label2", "e3", "e5", "label6"]


def test_of_another_log_each_partition_keeps_its_order(tmp_path: Path) -> None:
    archive = stored(
        tmp_path,
        "a Kafka cluster",
        [
            (ONE, 10, payment(0, T0_US + HOUR)),
            (ONE, 11, payment(1, T0_US)),  # late
            (ONE, 12, payment(3, T0_US + 3 * HOUR)),
            (OTHER, 0, payment(2, T0_US + 2 * HOUR)),
        ],
    )
    assert ids(archive) == ["e0", "e1", "e2", "e3"]


def test_logs_follow_each_other(tmp_path: Path) -> None:
    stored(tmp_path, "the newer", [(ONE, 1, payment(1, T0_US + DAY))])
    archive = stored(tmp_path, "redis", [(ONE, at(9), payment(0, T0_US))])
    assert ids(archive) == ["e0", "e1"]


def test_it_is_a_stretch_of_each_partition(tmp_path: Path) -> None:
    placed = [(ONE, at(n), payment(n, T0_US + day * DAY)) for n, day in enumerate([0, 1, 2, 1, 3])]
    archive = stored(tmp_path, "redis", placed)
    first = day_of(placed[0][2])
    assert ids(archive, start=first + timedelta(days=1)) == ["e1", "e2", "e3", "e4"]
    assert ids(archive, end=first + timedelta(days=2)) == ["e0", "e1"]
    write_note(tmp_path, dict.fromkeys(read_note(tmp_path), at(3)))
    assert ids(archive) == ["e0", "e1", "e2", "e3"]


def test_an_archive_of_before_there_were_notes_counts_whole(tmp_path: Path) -> None:
    archive = stored(tmp_path, "redis", [(ONE, at(n), payment(n, T0_US)) for n in range(3)])
    (tmp_path / ".complete.json").unlink()
    assert ids(archive) == ["e0", "e1", "e2"]
    # The next flush says how far it is complete.
    with archive:
        archive.write("redis", {ONE: [Entry(at(3), "c", encode(payment(3, T0_US)))]})
    assert read_note(tmp_path) == {("redis", ONE): at(3)}


def test_a_batch_that_comes_again_takes_nothing_from_the_note(tmp_path: Path) -> None:
    placed = [(ONE, at(n), payment(n, T0_US)) for n in range(3)]
    stored(tmp_path, "redis", placed)
    stored(tmp_path, "redis", placed[:2])
    assert read_note(tmp_path) == {("redis", ONE): at(2)}
