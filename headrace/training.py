"""What `headrace train` does: rows of a file or an archive, fit, register, and the gates if it is to be promoted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from headrace.cards import open_guard
from headrace.lessons import ArchivedLessons, Lessons, ReplayedLessons
from headrace.promotion import through_gates, use_case_of
from headrace.revision import git_revision
from headrace.settings import Settings
from headrace.source import FileSource
from headrace.tuning import tuned
from headrace.tuning_options import TuningOptions
from scoring.live_models import registry_of
from scoring.use_case import UseCase
from stream.archive import Archive
from training import mlflow_store
from training.archived_frame import Unlabelled
from training.batch import train

TAUGHT_DAYS = 28


def run_training(
    settings: Settings,
    use_case: str,
    data: Path | None,
    archive: Path | None,
    mapping: Path | None,
    start: datetime | None,
    end: datetime | None,
    history_days: int,
    share: float,
    unlabelled: Unlabelled,
    tuning: TuningOptions,
    mlflow: str | None,
    experiment: str,
    promote: bool,
    judge_days: int,
    by: str,
    why: str,
) -> int:
    """Train and register the model. If it is to be promoted, the last days judge it and do not teach.

    The exit status: 0 where it was registered, and promoted if asked.
    """
    chosen = use_case_of(use_case)
    if promote and not by:
        raise click.UsageError("nobody knows who promotes; give --by NAME")
    if mlflow:
        mlflow_store.check(mlflow)
    lessons = open_lessons(settings, chosen, data, archive, mapping, history_days, unlabelled)
    first, last = lessons.span()
    end = last if end is None else end.replace(tzinfo=UTC)
    # As somebody would have trained then: what became known in the days that judge is not used.
    taught_until = end - timedelta(days=judge_days) if promote else end
    begin = max(first, taught_until - timedelta(days=TAUGHT_DAYS)) if start is None else start.replace(tzinfo=UTC)
    frame = lessons.taught(begin, taught_until, share, say)
    found = tuned(frame, tuning)
    trained = train(
        frame,
        found.family,
        created_at=datetime.now(UTC),
        name=chosen.name,
        changes=found.changes,
        search=found.summary,
        git_revision=git_revision(),
        on_stage=say,
    )
    registry = registry_of(settings.home)
    version = registry.register(trained.onnx_bytes, trained.manifest)
    if mlflow:
        run = mlflow_store.log_run(
            mlflow, experiment or chosen.name, trained.onnx_bytes, registry.manifest(use_case, version), found.trials
        )
        say(f"run {run} in MLflow; 'runs:/{run}/{mlflow_store.FOLDER}' is what to register there")
    # The profile is for machines: thousands of lines.
    click.echo(msgspec.structs.replace(registry.manifest(use_case, version), profile=None).to_json().decode())
    if not promote:
        click.echo(
            f"registered {use_case} {version}; 'headrace models promote {use_case} {version}' judges it", err=True
        )
        return 0
    later = lessons.later(taught_until, end, share, say)
    return through_gates(settings, registry, chosen, version, later, by, why or "headrace train")


def open_lessons(
    settings: Settings,
    use_case: UseCase,
    data: Path | None,
    archive: Path | None,
    mapping: Path | None,
    history_days: int,
    unlabelled: Unlabelled,
) -> Lessons:
    """The rows of a file, or of what was served: the archive of the home where neither is named."""
    if data is not None and archive is not None:
        raise click.UsageError("give either --data FILE or --archive DIRECTORY")
    if data is not None:
        return ReplayedLessons(use_case.features, FileSource.open(data, mapping, open_guard(settings)), history_days)
    if mapping is not None:
        raise click.UsageError("an archive needs no --mapping; give --data FILE, or leave it out")
    delay = timedelta(milliseconds=settings.label_delay)
    return ArchivedLessons(use_case.features, Archive(archive or settings.home / "archive"), delay, unlabelled)


def say(stage: str) -> None:
    """A line for whoever waits."""
    click.echo(stage, err=True)
