"""What `headrace features skew` does: check once or on a schedule, show, keep and publish what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event

import click
import msgspec
from rich.console import Console
from rich.table import Table

from headrace.every import repeat
from headrace.settings import Settings
from headrace.whole_file import write_whole
from scoring.skew_metrics import metrics_text, publish
from scoring.skew_report import SkewReport
from scoring.use_case import USE_CASES
from stream.archive import Archive
from stream.connection import RedisConnection
from training.skew import SkewCheck

EXAMPLES_SHOWN = 5
NOTHING = "nothing is known yet"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SkewOptions:
    """What to check, and where to put what was found. `since` and `days` leave out older decisions."""

    share: float
    since: datetime | None = None
    days: int | None = None
    json_file: Path | None = None
    metrics_file: Path | None = None
    publish: bool = True


def check_once(settings: Settings, options: SkewOptions) -> int:
    """One check with its tables. The exit status: 1 where there are defects."""
    console = Console()
    with console.status("comparing") as status:
        reports = _check(settings, options, lambda stage, day: status.update(f"{stage}: {day}"))
    for report in reports:
        _print(console, report)
    _deliver(settings, options, reports)
    return 1 if any(report.defects for report in reports) else 0


def check_on_schedule(settings: Settings, options: SkewOptions, every_s: float, stop: Event) -> None:
    """Check now and then every so many seconds, until stopped: also in the midst of a check.

    A check that fails is reported to the log and tried again after five minutes, or `every_s` if that is less; the last
    report stays, and its age grows.
    """

    def work(go_on: Callable[[object], None]) -> str:
        reports = _check(settings, options, lambda _, day: go_on(day))
        _deliver(settings, options, reports)
        for report in reports:
            if report.defects:
                _log.warning("skew of %s: %d defects", report.use_case, report.defects)
        return "; ".join(
            f"{one.use_case}: {one.compared:,} of {one.decisions:,} decisions compared, {one.defects:,} defects"
            for one in reports
        )

    repeat("skew", work, every_s, stop, settings.redis)


def _check(settings: Settings, options: SkewOptions, on_day: Callable[[str, date], None]) -> list[SkewReport]:
    archive = Archive(settings.home / "archive")
    if not archive.directory.is_dir():
        raise click.ClickException(f"there is no archive in {archive.directory}; run 'headrace archive' first")
    begin = None if options.since is None else options.since.replace(tzinfo=UTC)
    return [
        SkewCheck(one.features, archive, options.share, begin, on_day, days=options.days).run()
        for one in USE_CASES.values()
    ]


def _deliver(settings: Settings, options: SkewOptions, reports: list[SkewReport]) -> None:
    if options.json_file is not None:
        options.json_file.write_bytes(msgspec.json.format(msgspec.json.encode(reports)))
    if options.metrics_file is not None:
        write_whole(options.metrics_file, metrics_text({report.use_case: report for report in reports}))
    if options.publish and settings.redis:
        with RedisConnection(settings.redis) as connection:
            for report in reports:
                publish(connection, report)


def _print(console: Console, report: SkewReport) -> None:
    title = (
        f"{report.use_case} {report.definition_hash}: {report.compared:,} of {report.decisions:,} decisions compared"
    )
    table = Table(title=title)
    for heading in ("feature", "compared", "approximate", "late", "defects", "mismatch rate"):
        table.add_column(heading)
    differing = {name: one for name, one in report.features.items() if one.late or one.defects}
    for name, one in differing.items():
        counts = (f"{count:,}" for count in (one.compared, one.approximate, one.late, one.defects))
        table.add_row(name, *counts, f"{one.mismatch_rate or 0.0:.2%}", style="red" if one.defects else None)
    if differing:
        console.print(table)
    else:
        console.print(
            f"{title}; {f'all {len(report.features)} features are as served' if report.compared else NOTHING}"
        )
    for why, count in report.skipped.items():
        console.print(f"not compared: {count:,}, {why}")
    for example in report.examples[:EXAMPLES_SHOWN]:
        console.print(f"{example.event_id} {example.feature}: served {example.served}, should be {example.recomputed}")
