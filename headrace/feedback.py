"""What `headrace feedback` does: one round or one again and again, and what is said and published of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import click
import numpy as np
from rich.console import Console

from headrace.every import NotYet, repeat
from headrace.model_tables import gates_table
from headrace.promotion import use_case_of
from headrace.revision import git_revision
from headrace.settings import Settings
from models.aliases import AliasMoved
from models.ensemble import FEEDBACK, registered_name
from models.onnx_export import ExportMismatch
from review.case import SOURCE_PREFIX
from scoring.feedback_metrics import FeedbackRound, publish
from scoring.live_models import registry_of
from stream.archive import Archive
from stream.connection import RedisConnection, RedisError, RedisUnavailable
from training.archived_frame import NoDecisions
from training.batch import NotEnoughToLearn
from training.feedback_round import NothingNew, Taught, teach
from training.feedback_rows import FeedbackRows, feedback_rows
from training.gates import PromotionRefused, Verdict
from training.matured import Unlabelled

Say = Callable[[str], None]
_log = logging.getLogger(__name__)


def feedback_once(settings: Settings, name: str, archive: Path | None, unlabelled: Unlabelled) -> None:
    """One round, with what the gates say. Raises `ClickException` where no new model serves afterwards."""
    with Console(stderr=True).status("reading the archive") as status:
        taught = _round(settings, name, archive, unlabelled, status.update)
    title = f"{registered_name(name, FEEDBACK)} {taught.version} serves: {taught.why}"
    Console().print(gates_table(title, taught.verdicts))


def feedback_on_schedule(
    settings: Settings, name: str, archive: Path | None, unlabelled: Unlabelled, every_s: float, stop: Event
) -> None:
    """A round now and then every so many seconds, until stopped: also in the midst of one."""

    def work(go_on: Callable[[object], None]) -> str:
        taught = _round(settings, name, archive, unlabelled, go_on)
        return f"{registered_name(name, FEEDBACK)} {taught.version} serves: {taught.why}"

    repeat("feedback", work, every_s, stop, settings.redis)


def _round(settings: Settings, name: str, archive: Path | None, unlabelled: Unlabelled, say: Say) -> Taught:
    use_case = use_case_of(name)
    features, now = use_case.features, datetime.now(UTC)
    rows: FeedbackRows | None = None
    try:
        rows = feedback_rows(
            features,
            Archive(archive or settings.home / "archive"),
            analysts=SOURCE_PREFIX,
            window=timedelta(milliseconds=settings.feedback_window),
            label_delay=timedelta(milliseconds=settings.label_delay),
            as_of=now,
            unlabelled=unlabelled,
        )
        taught = teach(
            rows,
            registry_of(settings.home),
            registered_name(name, FEEDBACK),
            features.definition_hash,
            created_at=now,
            git_revision=git_revision(),
            on_stage=say,
        )
    except (NoDecisions, NotEnoughToLearn, NothingNew, AliasMoved) as error:
        raise NotYet(str(error)) from None
    except PromotionRefused as error:
        assert rows is not None  # they were judged
        _publish(settings, name, rows, None, list(error.verdicts))
        raise click.ClickException(f"{error}; the present one goes on") from None
    except ExportMismatch as error:
        raise click.ClickException(f"{error}; the present one goes on") from None
    _publish(settings, name, rows, taught.version, taught.verdicts)
    return taught


def _publish(settings: Settings, name: str, rows: FeedbackRows, version: str | None, verdicts: list[Verdict]) -> None:
    if not settings.redis:
        return
    frames = {"verdicts": rows.verdicts.frame, "population": rows.population.frame}
    judged = FeedbackRound(
        use_case=name,
        ended_at=datetime.now(UTC),
        version=version,
        rows={kind: len(frame.y) for kind, frame in frames.items()},
        frauds={kind: int(np.count_nonzero(frame.y)) for kind, frame in frames.items()},
        gates={verdict.gate: verdict.passed for verdict in verdicts},
    )
    try:
        with RedisConnection(settings.redis) as connection:
            publish(connection, judged)
    except (RedisUnavailable, RedisError) as error:
        _log.warning("feedback: what the gates said went nowhere: %s", error)
