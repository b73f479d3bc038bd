"""Frames to judge models by: from what was served, or from a file that is replayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from headrace.cards import open_guard
from headrace.settings import Settings
from headrace.source import FileSource
from models.registry import Registry
from scoring.use_case import UseCase
from stream.archive import Archive
from training.archived_frame import Unlabelled, archived_frame
from training.frame import TrainingFrame
from training.promotion import no_rows
from training.replay import Replay


class FrameOptions(NamedTuple):
    """Where later rows come from: an archive, or a file with its mapping; and which days of them."""

    archive: Path | None = None
    data: Path | None = None
    mapping: Path | None = None
    start: datetime | None = None
    end: datetime | None = None
    history_days: int = 38
    share: float = 1.0
    unlabelled: Unlabelled = "out"


def open_frame(settings: Settings, use_case: UseCase, options: FrameOptions, after: datetime) -> TrainingFrame:
    """The rows after a moment, or from `options.start`, with their records and with labels that are final.

    The archive of the home where nothing else is named; a frame of nothing where that is empty.
    """
    since = after if options.start is None else options.start.replace(tzinfo=UTC)
    until = None if options.end is None else options.end.replace(tzinfo=UTC)
    if options.data is not None and options.archive is not None:
        raise click.UsageError("give either --data FILE or --archive DIRECTORY")
    if options.data is not None:
        return _replayed(settings, use_case, options, since, until)
    directory = options.archive or settings.home / "archive"
    if not any(directory.glob("decisions/date=*/*.parquet")):
        if options.archive is not None:
            raise click.ClickException(
                f"there are no decisions in {directory}; 'headrace archive' stores them every 5 minutes"
            )
        return no_rows(use_case.features)
    with Console(stderr=True).status("reading the archive") as status:
        return archived_frame(
            use_case.features,
            Archive(directory),
            label_delay=timedelta(milliseconds=settings.label_delay),
            since=since,
            until=until,
            unlabelled=options.unlabelled,
            on_progress=lambda count: status.update(f"reading the archive: {count:,} decisions"),
        )


def label_cutoff(registry: Registry, use_case: UseCase, version: str) -> datetime:
    """Until when the version and the champion have learned: neither may be judged by what came before."""
    name = use_case.name
    manifests = [registry.manifest(name, version)]
    if champion := registry.aliases(name).get("champion"):
        manifest = registry.manifest(name, champion)
        # A champion of other features is not asked.
        manifests += [manifest] if manifest.definition_hash == use_case.features.definition_hash else []
    return max(one.learned_until for one in manifests)


def _replayed(
    settings: Settings, use_case: UseCase, options: FrameOptions, since: datetime, until: datetime | None
) -> TrainingFrame:
    assert options.data is not None
    source = FileSource.open(options.data, options.mapping, open_guard(settings))
    replay = Replay(use_case.features)
    with Console(stderr=True).status("replaying") as status:
        frame = replay.advance(
            source.between(since - timedelta(days=options.history_days), until),
            collect_from=since,
            share=options.share,
            on_event=lambda count: status.update(f"replayed {count:,}") if count % 5000 == 0 else None,
            keep_records=True,
        )
    assert frame is not None
    return frame
