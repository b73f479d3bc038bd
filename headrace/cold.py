"""What the commands of the archive do: store, replay, check for skew."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from secrets import token_hex
from threading import Event

import click
from rich.console import Console
from rich.table import Table

from features.declared import all_views
from headrace.assembly import open_log, open_online_store
from headrace.process_metrics import watched
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from stream.archive import Archive, ArchiveInUse

ARCHIVE_FOLDER = "archive"


def open_archive(settings: Settings) -> Archive:
    """The archive of the home."""
    return Archive(settings.home / ARCHIVE_FOLDER)


def run_archiver(settings: Settings, stop: Event) -> None:
    """Archive until stopped."""
    from stream.archiver import archive_forever

    retention = timedelta(milliseconds=settings.archive_retention)
    log = open_log_when_up(settings, stop)
    if log is None:
        return
    try:
        with watched(settings, log) as log:
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
