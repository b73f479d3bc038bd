"""What `headrace recommend load` does: a file of interactions, and one of items, become records.

To the log they go as any action does: workers fold them, the archive keeps them, the sequencer brings them into the
sequence. To the sequence alone they go when only the state of recommending shall know them, such as history that is
older than every window of the features: exactly once, and after a crash from where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import click

from headrace.assembly import open_outbox
from headrace.running import none_named
from headrace.settings import Settings
from scoring.sequenced import payload_of
from stream.connection import RedisConnection
from stream.interaction_file import Columns, read_actions, read_items
from stream.log import Log, LogFull, Partition, message_of
from stream.records import Action, Item, encode
from stream.sequence import APPEND_LIMIT, NO_MARK, Sequence, source_of

BATCH = 1000
FULL_PAUSE_S = 0.5
FULL_TRIES = 240
SAID_EVERY = 50_000

Say = Callable[[int], None]


def load_files(settings: Settings, data: Path | None, catalogue: Path | None, target: str, **columns: Any) -> None:
    """Play the files and say how many records there were."""
    if not settings.redis:
        raise click.UsageError(none_named(settings, "records go to Redis"))
    records = records_of(data, catalogue, Columns(**columns))
    began = time.monotonic()
    if target == "sequence":
        with RedisConnection(settings.redis) as connection:
            count = load_into_sequence(Sequence(connection), name_of(data, catalogue), records, _say)
    else:
        with closing(open_outbox(settings)) as log:
            count = load_into_log(log, records, _say)
    took_s = time.monotonic() - began
    click.echo(f"{count:,} records into the {target} in {took_s:.1f} s")


def records_of(data: Path | None, catalogue: Path | None, columns: Columns) -> Iterator[Item | Action]:
    """The items of a catalogue, then the actions of a file; items as of the epoch, so that any later word counts."""
    if data is None and catalogue is None:
        raise click.UsageError("give --data FILE, or --catalogue FILE, or both")
    if catalogue is not None:
        yield from read_items(catalogue, datetime.fromtimestamp(0, UTC))
    if data is not None:
        yield from read_actions(data, columns)


def load_into_log(log: Log, records: Iterable[Item | Action], say: Say = lambda count: None) -> int:
    """Append records in their order; how many. Waits while a partition is full, two minutes at most, then raises."""
    count = 0
    rest = iter(records)
    while batch := [message_of(one) for one in islice(rest, BATCH)]:
        for tried in range(FULL_TRIES + 1):
            try:
                log.append(batch)
                break
            except LogFull:
                if tried == FULL_TRIES:
                    raise
                time.sleep(FULL_PAUSE_S)
        count += len(batch)
        say(count)
    return count


def load_into_sequence(
    sequence: Sequence, name: str, records: Iterable[Item | Action], say: Say = lambda count: None
) -> int:
    """Append records in their order as the source `name`; how many were new.

    Each is in the sequence once, by its place among the records: the same call again goes on where one ended.
    """
    sources = {topic: source_of(name, Partition(topic, 0)) for topic in (Item.topic, Action.topic)}
    marks = sequence.marks()
    count = 0
    waiting: list[tuple[int, bytes]] = []
    waiting_topic = ""

    def flush() -> int:
        source = sources[waiting_topic]
        if waiting and not sequence.append(source, marks.get(source, NO_MARK), waiting):
            raise click.ClickException(f"somebody else loads {name!r} too; let one of the two finish, then try again")
        if waiting:
            marks[source] = waiting[-1][0]
        done = len(waiting)
        waiting.clear()
        return done

    for place, record in enumerate(records, 1):
        if waiting and (record.topic != waiting_topic or len(waiting) >= APPEND_LIMIT):
            count += flush()
            say(count)
        waiting_topic = record.topic
        payload = payload_of(record.topic, encode(record))
        if payload is not None and place > marks.get(sources[record.topic], NO_MARK):
            waiting.append((place, payload))
    if waiting:
        count += flush()
    return count


def name_of(*paths: Path | None) -> str:
    """What files are called as a source: by what is in them."""
    digest = sha256()
    for path in paths:
        if path is not None:
            with path.open("rb") as content:
                while part := content.read(1 << 20):
                    digest.update(part)
    return f"file-{digest.hexdigest()[:16]}"


def _say(count: int) -> None:
    if count // SAID_EVERY > (count - BATCH) // SAID_EVERY:
        click.echo(f"{count:,} records", err=True)
