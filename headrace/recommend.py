"""What `headrace recommend learn`, `digest` and `show` do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
import msgspec

from headrace.process_metrics import watched
from headrace.recommend_load import records_of
from headrace.running import none_named
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from scoring.recommender_report import REPORT_KEY, Clicks, RecommenderReport
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import RecommenderState
from stream.connection import RedisConnection
from stream.interaction_file import Columns
from stream.records import encode
from stream.sequence import START, Sequence, Sequenced, SequenceGap

BLOCK_MS = 250
READ_LIMIT = 1000
_log = logging.getLogger(__name__)


def run_recommender(settings: Settings, stop: Event) -> None:
    """Sequence in one thread and follow in this one, until stopped or either ends."""
    from training.recommender_learner import Pace, RecommenderLearner, follow_forever
    from training.sequencer import sequence_forever

    log = open_log_when_up(settings, stop)
    if log is None:
        return
    with closing(log), watched(settings, log) as log, RedisConnection(settings.redis) as connection:

        def sequence() -> None:
            # Its own connection: a snapshot or a wait of the other thread does not keep records from the sequence.
            try:
                with RedisConnection(settings.redis) as own:
                    sequence_forever(log, Sequence(own), stop)
            except BaseException:
                _log.exception("the sequencer ended")
                failed.set()
                stop.set()

        failed = Event()
        snapshots = SnapshotStore(connection)
        learner = RecommenderLearner(Sequence(connection), snapshots, Pace(limit=settings.sequence_limit))
        thread = Thread(target=sequence, name="sequencer")
        thread.start()
        try:
            follow_forever(learner, stop, publish=lambda report: publish(connection, report), block_ms=BLOCK_MS)
        finally:
            stop.set()
            thread.join()
    if failed.is_set():
        raise click.ClickException("the sequencer ended; its log says why")


def publish(connection: RedisConnection, report: RecommenderReport) -> None:
    """Let the dashboard have a report."""
    connection.one("SET", REPORT_KEY, msgspec.json.encode(report))


def print_digest(settings: Settings, data: Path | None, catalogue: Path | None, **columns: Any) -> None:
    """Build the state from files where they are given, else from the sequence, and print what it is."""
    if data is not None or catalogue is not None:
        state = RecommenderState()
        for entry in entries_of_files(data, catalogue, Columns(**columns)):
            state.apply(entry, lambda version: None)
    else:
        if not settings.redis:
            raise click.UsageError(f"{none_named(settings, 'the sequence is in Redis')}, or --data FILE")
        state = replayed(settings)
    counts = {name: getattr(state.counts, name) for name in state.counts.__struct_fields__}
    click.echo(f"digest    {state.digest()}")
    click.echo(
        f"entries   {state.number:,}: {', '.join(f'{count:,} {name}' for name, count in counts.items() if count)}"
    )
    click.echo(f"items     {len(state.recommender.index):,}")
    click.echo(f"visitors  {len(state.recommender.visitors):,}")


def entries_of_files(data: Path | None, catalogue: Path | None, columns: Columns) -> Iterator[Sequenced]:
    """Files as a sequence of their own."""
    for number, record in enumerate(records_of(data, catalogue, columns), 1):
        yield Sequenced(b"%d-0" % number, f"file/{record.topic}/0", number, encode(record), number)


def replayed(settings: Settings) -> RecommenderState:
    """The state that the sequence makes of nothing; of the newest snapshot where the beginning is trimmed."""
    with RedisConnection(settings.redis) as connection:
        sequence, snapshots = Sequence(connection), SnapshotStore(connection)
        state = RecommenderState()
        if sequence.floor != START:
            state = snapshots.begin(sequence).state
            click.echo(f"the sequence begins after entry {state.number:,}: from the newest snapshot on", err=True)
        end = sequence.count
        while state.number < end:
            try:
                entries = sequence.read(state.position, READ_LIMIT)
            except SequenceGap as error:
                raise click.ClickException(f"{error}; try again") from None
            for entry in entries:
                state.apply(entry, snapshots.fetch_batch)
    return state


def print_report(settings: Settings, as_json: bool) -> None:
    """The learner's newest report."""
    if not settings.redis:
        raise click.UsageError(none_named(settings, "the report is in Redis"))
    with RedisConnection(settings.redis) as connection:
        content = connection.one("GET", REPORT_KEY)
    if content is None:
        raise click.ClickException("there is no report yet; run 'headrace recommend learn'")
    report = msgspec.json.decode(content, type=RecommenderReport)
    if as_json:
        click.echo(msgspec.json.format(bytes(content)).decode())
        return
    entries = ", ".join(f"{count:,} {name}" for name, count in report.entries.items() if count)
    foreseen = "nothing yet" if report.hit_rate is None else f"{report.hit_rate:.1%} of {report.hits_over:,}, in ten"
    facts = {
        "entries": f"{report.number:,}, {report.behind:,} behind: {entries or 'none'}",
        "items": f"{report.items:,}",
        "visitors": f"{report.visitors:,}",
        "snapshot": f"of entry {report.saved:,}, {report.saved_bytes:,} bytes",
        "batch fit": report.adopted or "none",
        "foreseen": foreseen,
    }
    if report.problem:
        facts["problem"] = report.problem
    for heading, text in facts.items():
        click.echo(f"{heading:<10}{text}")
    for heading, groups in (("source", report.by_source), ("place", report.by_place), ("scenario", report.by_scenario)):
        for name, clicks in sorted(groups.items()):
            click.echo(f"{heading:<10}{name:<16}{_rate(clicks)}")


def _rate(clicks: Clicks) -> str:
    share = clicks.clicked / clicks.shown if clicks.shown else 0.0
    return f"{clicks.clicked:,} of {clicks.shown:,} acted on ({share:.2%})"
