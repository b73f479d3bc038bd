"""What the commands of the archive do: store, replay, check for skew."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from threading import Event
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table

from headrace.assembly import all_views, open_log, open_online_store
from headrace.settings import Settings
from stream.archive import Archive, ArchiveInUse

if TYPE_CHECKING:
    from training.skew import SkewReport

ARCHIVE_FOLDER = "archive"
EXAMPLES_SHOWN = 5


def open_archive(settings: Settings) -> Archive:
    """The archive of the home."""
    return Archive(settings.home / ARCHIVE_FOLDER)


def run_archiver(settings: Settings, stop: Event) -> None:
    """Archive until stopped."""
    from stream.archiver import archive_forever

    retention = timedelta(milliseconds=settings.archive_retention)
    log = open_log(settings)
    try:
        archive_forever(open_archive(settings), log, stop, retention=retention)
    except ArchiveInUse as error:
        raise click.ClickException(str(error)) from error
    finally:
        log.close()


def run_replay(settings: Settings, source: str, force: bool, stop: Event) -> int:
    """Rebuild, switch, say what became of it. The exit status: 0 when no entity was left behind."""
    from features.rebuild import Rebuild, RebuildCount, delete_all, store_beside

    archive = open_archive(settings) if source == "archive" else None
    if archive is not None and not archive.directory.is_dir():
        raise click.ClickException(f"there is no archive in {archive.directory}; run 'headrace archive' first")
    console = Console()
    log = open_log(settings)
    live = open_online_store(settings)
    beside = store_beside(live, token_hex(4))
    rebuild = Rebuild(live, beside, all_views(), log, archive, force=force)
    with ExitStack() as cleanup:
        cleanup.callback(log.close)
        cleanup.callback(live.connection.close)
        cleanup.callback(lambda: delete_all(beside, rebuild.refs))
        status = cleanup.enter_context(console.status("replaying"))

        def progress(stage: str, count: RebuildCount) -> None:
            switched = count.replaced + count.restored + count.same + count.longer_live
            status.update(f"{stage}: {count.records:,} records, {switched:,} of {len(rebuild.refs):,} entities")

        count = rebuild.run(stop, on_progress=progress)
    table = Table(title=f"replayed from the {source}")
    for heading in ("what", "how many"):
        table.add_column(heading)
    words = {
        "records": "records read",
        "folded": "records folded, without duplicates",
        "entities": "entities rebuilt",
        "replaced": "… whose live history differed: replaced",
        "restored": "… that had no live history: restored",
        "same": "… whose live history was the same",
        "longer_live": "… whose live history reaches further back: kept",
        "behind": "… that workers wrote in every try: kept",
    }
    for name, text in words.items():
        table.add_row(text, f"{getattr(count, name):,}")
    console.print(table)
    return 1 if count.behind or stop.is_set() else 0


def check_skew(settings: Settings, share: float, since: datetime | None, json_file: Path | None) -> int:
    """Compare served with recomputed features, say what differs. The exit status: 1 where there are defects."""
    from scoring.use_case import USE_CASES
    from training.skew import SkewCheck

    archive = open_archive(settings)
    if not archive.directory.is_dir():
        raise click.ClickException(f"there is no archive in {archive.directory}; run 'headrace archive' first")
    console = Console()
    reports: list[SkewReport] = []
    with console.status("comparing") as status:

        def progress(stage: str, day: date) -> None:
            status.update(f"{stage}: {day}")

        for use_case in USE_CASES.values():
            begin = None if since is None else since.replace(tzinfo=UTC)
            reports.append(SkewCheck(use_case.features, archive, share, begin, progress).run())
    for report in reports:
        _print_skew(console, report)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(reports)))
    return 1 if any(report.defects for report in reports) else 0


def _print_skew(console: Console, report: SkewReport) -> None:
    title = (
        f"{report.use_case} {report.definition_hash}: {report.compared:,} of {report.decisions:,} decisions compared"
    )
    table = Table(title=title)
    for heading in ("feature", "compared", "approximate", "late", "defects", "mismatch rate"):
        table.add_column(heading)
    differing = {name: one for name, one in report.features.items() if one.late or one.defects}
    for name, one in differing.items():
        rate = (one.late + one.defects) / max(1, one.compared)
        style = "red" if one.defects else None
        table.add_row(
            name,
            f"{one.compared:,}",
            f"{one.approximate:,}",
            f"{one.late:,}",
            f"{one.defects:,}",
            f"{rate:.2%}",
            style=style,
        )
    console.print(table if differing else f"{title}; all {len(report.features)} features are as served")
    for why, count in report.skipped.items():
        console.print(f"not compared: {count:,}, {why}")
    for example in report.examples[:EXAMPLES_SHOWN]:
        console.print(f"{example.event_id} {example.feature}: served {example.served}, should be {example.recomputed}")
