"""What `headrace evaluate` does: rows from the archive or from a file, the figures, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from headrace.cards import open_guard
from headrace.evaluation_page import page
from headrace.evaluation_tables import print_evaluation
from headrace.every import NotYet, repeat
from headrace.promotion import costs_of, use_case_of
from headrace.settings import Settings
from headrace.source import FileSource
from headrace.whole_file import write_whole
from models.manifest import Interval
from scoring.live_models import registry_of
from scoring.quality_metrics import publish
from scoring.quality_report import EvaluationHeadline, Spread
from scoring.use_case import UseCase
from stream.archive import Archive
from stream.connection import RedisConnection
from training.evaluation import evaluate
from training.evaluation_report import Evaluation, MemberFigures
from training.judged_rows import JudgedRows, judged_rows
from training.matured import Unlabelled, matured
from training.policy_cost import PolicyCost
from training.prequential import Stretch, prequential

FIGURES: dict[str, Callable[[MemberFigures], Interval | None]] = {
    "auc": lambda one: one.auc,
    "average_precision": lambda one: one.average_precision,
    "card_precision": lambda one: one.card_precision,
    "policy_cost": lambda one: one.policy_cost,
    "calibration_error": lambda one: Interval(one.calibration_error, one.calibration_error, one.calibration_error),
}
"""What goes into metrics, by name."""


class EvaluateOptions(NamedTuple):
    """Which rows, and where the figures go."""

    archive: Path | None = None
    data: Path | None = None
    mapping: Path | None = None
    version: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    as_of: datetime | None = None
    history_days: int = 38
    share: float = 1.0
    unlabelled: Unlabelled = "out"
    cards_a_day: int = 100
    draws: int = 200
    html_file: Path | None = None
    json_file: Path | None = None
    publish: bool = True


class Found(NamedTuple):
    """Rows, what they are of, and what to know of them. `label_delay_s` is None where each label has its own."""

    rows: JudgedRows
    source: str
    label_delay_s: float | None
    notes: list[str]


def run_evaluation(settings: Settings, name: str, options: EvaluateOptions) -> None:
    """Evaluate and deliver: a summary here, a page, a JSON file, and metrics where a Redis is given."""
    with Console(stderr=True).status("reading") as status:
        evaluation = _evaluated(settings, name, options, status.update)
    print_evaluation(Console(), evaluation)
    _deliver(settings, options, evaluation)
    if options.html_file is not None:
        click.echo(f"the page: {options.html_file}", err=True)


def evaluate_on_schedule(settings: Settings, name: str, options: EvaluateOptions, every_s: float, stop: Event) -> None:
    """Evaluate now and then every so many seconds, until stopped; each time the page and the figures are replaced."""

    def work(go_on: Callable[[object], None]) -> str:
        found = _evaluated(settings, name, options, go_on)
        go_on("")
        _deliver(settings, options, found)
        return f"{found.mature:,} mature events with {found.frauds:,} frauds, {found.immature:,} too young"

    repeat("evaluate", work, every_s, stop, settings.redis)


def _evaluated(settings: Settings, name: str, options: EvaluateOptions, say: Callable[[str], None]) -> Evaluation:
    use_case = use_case_of(name)
    costs = costs_of(settings, use_case)
    read = _of_file if options.data is not None else _of_archive
    found = read(settings, use_case, costs, options, say)
    return evaluate(
        found.rows,
        costs,
        use_case=name,
        source=found.source,
        made_at=datetime.now(UTC),
        label_delay_s=found.label_delay_s,
        cards_a_day=options.cards_a_day,
        draws=options.draws,
        notes=found.notes,
        on_stage=say,
    )


def _deliver(settings: Settings, options: EvaluateOptions, evaluation: Evaluation) -> None:
    if options.html_file is not None:
        write_whole(options.html_file, page(evaluation))
    if options.json_file is not None:
        write_whole(options.json_file, msgspec.json.format(msgspec.json.encode(evaluation)).decode())
    if options.publish and settings.redis:
        with RedisConnection(settings.redis) as connection:
            publish(connection, headline(evaluation))


def headline(found: Evaluation) -> EvaluationHeadline:
    """What metrics show of an evaluation."""
    figures: dict[str, dict[str, Spread]] = {}
    for name, of in FIGURES.items():
        for member, one in found.members.items():
            if (known := of(one)) is not None:
                figures.setdefault(name, {})[member] = _spread(known)
    return EvaluationHeadline(
        use_case=found.use_case,
        made_at=found.made_at,
        as_of=found.as_of,
        mature=found.mature,
        immature=found.immature,
        unlabelled=found.unlabelled,
        frauds=found.frauds,
        figures=figures,
        realised_cost=_spread(found.costs.realised),
        expected_cost=None if found.costs.expected is None else _spread(found.costs.expected),
        approve_all_cost=_spread(found.costs.approve_all),
    )


def _spread(one: Interval) -> Spread:
    return Spread(one.value, one.low, one.high)


def _of_archive(
    settings: Settings, use_case: UseCase, costs: PolicyCost, options: EvaluateOptions, say: Callable[[str], None]
) -> Found:
    directory = options.archive or settings.home / "archive"
    if not any(directory.glob("decisions/date=*/*.parquet")):
        raise NotYet(
            f"there are no decisions in {directory}; 'headrace archive' stores them every 5 minutes; "
            "or give --archive or --data"
        )
    delay = timedelta(milliseconds=settings.label_delay)
    found = matured(
        Archive(directory),
        use_case.name,
        label_delay=delay,
        since=_utc(options.start),
        until=_utc(options.end),
        as_of=_utc(options.as_of),
        unlabelled=options.unlabelled,
        on_progress=lambda count: say(f"reading the archive: {count:,} decisions"),
    )
    if not found.rows:
        fates = found.fates
        raise NotYet(
            f"of {fates.decisions:,} decisions in {directory} none counts: {fates.immature:,} are younger than {delay} "
            f"and {fates.unlabelled:,} have no verdict; wait for labels, or give --unlabelled legit where only frauds "
            "are reported"
        )
    return Found(judged_rows(found.rows, found.fates), "decisions of the archive", delay.total_seconds(), [])


def _of_file(
    settings: Settings, use_case: UseCase, costs: PolicyCost, options: EvaluateOptions, say: Callable[[str], None]
) -> Found:
    assert options.data is not None
    if options.archive is not None:
        raise click.UsageError("give either --data FILE or --archive DIRECTORY")
    registry = registry_of(settings.home)
    version = options.version or registry.resolve(use_case.name)
    model = registry.load(use_case.name, version)
    cutoff = max(model.manifest.label_cutoff, model.manifest.window_end)
    start = _utc(options.start) or cutoff
    source = FileSource.open(options.data, options.mapping, open_guard(settings))
    until = _utc(options.end)
    if options.as_of is not None:
        as_of = options.as_of.replace(tzinfo=UTC)
        until = as_of if until is None else min(until, as_of)
    rows = prequential(
        use_case.features,
        source.between(start - timedelta(days=options.history_days), until),
        Stretch(start, options.share),
        model,
        use_case.weights,
        costs,
        on_event=lambda count: say(f"replayed {count:,}") if count % 5000 == 0 else None,
    )
    notes = ["Replayed from a file: the policy alone decides, without rules, let-throughs or a bound on analysts."]
    if start < cutoff:
        notes.insert(
            0,
            f"Version {version} learned from events and labels up to {cutoff:%Y-%m-%d %H:%M}: figures of days before "
            "that are of what it has seen, and too good.",
        )
    return Found(rows, f"{source.name}, replayed with version {version}", None, notes)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
