"""What `headrace drift` does: the newest decisions of the archive against the profile of the model that made them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec
import numpy as np
from click import ClickException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.feature_set import FeatureSet
from headrace.every import NotYet, repeat
from headrace.promotion import use_case_of
from headrace.settings import Settings
from headrace.whole_file import write_whole
from models.manifest import Manifest
from models.registry import ModelNotFound
from scoring.live_models import registry_of
from scoring.quality_metrics import Quality, publish, quality_text
from scoring.quality_report import DriftHeadline
from stream.archive import Archive
from stream.connection import RedisConnection
from stream.records import Decision
from training.drift import MatureRows, NewRows, find_drift
from training.drift_bounds import BOUNDS
from training.drift_report import DriftReport
from training.effective import Entities, entities_of
from training.judged_rows import ALL, judged_rows
from training.matured import Matured, Unlabelled, matured

BATCH = "batch"
WEEK = timedelta(days=7)
SHOWN = 10
_log = logging.getLogger(__name__)


class NotComparable(NotYet):
    """There is nothing to compare, or nothing to compare it with: neither quiet nor an alarm."""

    exit_code = 2


class WrongVersion(ClickException):
    """The version that was named, or is champion, can be compared with nothing: waiting does not help."""

    exit_code = 2


class DriftOptions(NamedTuple):
    """Which decisions are compared with which version, and where the figures go."""

    archive: Path | None = None
    version: str | None = None
    weeks: int = 1
    as_of: datetime | None = None
    unlabelled: Unlabelled = "out"
    json_file: Path | None = None
    metrics_file: Path | None = None
    publish: bool = True


def run_drift(settings: Settings, name: str, options: DriftOptions) -> int:
    """Look once, print and deliver. The exit status: 1 on an alarm; 2, raised, where nothing can be compared."""
    with Console(stderr=True).status("reading the archive") as status:
        report = _looked(settings, name, options, status.update)
    _print(Console(), report)
    _deliver(settings, options, report)
    return 1 if report.alarms else 0


def look_on_schedule(settings: Settings, name: str, options: DriftOptions, every_s: float, stop: Event) -> None:
    """Look now and then every so many seconds, until stopped; each alarm is a warning in the log."""

    def work(go_on: Callable[[object], None]) -> str:
        report = _looked(settings, name, options, go_on)
        _deliver(settings, options, report)
        for one in report.measured:
            if one.alarm:
                _log.warning("drift of %s: %s of %s: %s", name, one.measure, one.subject, one.says)
        return f"{report.rows:,} events compared with the training of {report.version}, {len(report.alarms)} alarms"

    repeat("drift", work, every_s, stop, settings.redis)


def _looked(settings: Settings, name: str, options: DriftOptions, say: Callable[[str], None]) -> DriftReport:
    use_case = use_case_of(name)
    registry = registry_of(settings.home)
    try:
        manifest = registry.manifest(name, options.version or registry.resolve(name))
    except ModelNotFound as error:
        raise ClickException(str(error)) from None
    directory = options.archive or settings.home / "archive"
    if not any(directory.glob("decisions/date=*/*.parquet")):
        raise NotYet(
            f"there are no decisions in {directory}; 'headrace archive' stores them every 5 minutes; or give --archive"
        )
    found = matured(
        Archive(directory),
        name,
        label_delay=timedelta(milliseconds=settings.label_delay),
        definition_hash=manifest.definition_hash,
        since=manifest.learned_until,
        as_of=None if options.as_of is None else options.as_of.replace(tzinfo=UTC),
        unlabelled=options.unlabelled,
        on_progress=lambda count: say(f"reading the archive: {count:,} decisions"),
    )
    try:
        return look(manifest, use_case.features, found, WEEK * options.weeks)
    except ValueError as error:
        raise NotComparable(str(error)) from None


def _deliver(settings: Settings, options: DriftOptions, report: DriftReport) -> None:
    if options.json_file is not None:
        write_whole(options.json_file, msgspec.json.format(msgspec.json.encode(report)).decode())
    shown = headline(report)
    if options.metrics_file is not None:
        write_whole(options.metrics_file, quality_text({report.use_case: Quality(None, shown)}))
    if options.publish and settings.redis:
        with RedisConnection(settings.redis) as connection:
            publish(connection, shown)


def look(manifest: Manifest, features: FeatureSet, found: Matured, period: timedelta) -> DriftReport:
    """Hold the newest period of what was found against the profile.

    Raises `WrongVersion` where there is no profile of these features, `ValueError` where there are no events yet.
    """
    if manifest.profile is None:
        raise WrongVersion(f"version {manifest.version} was trained without a profile; train again, or name another")
    if manifest.definition_hash != features.definition_hash:
        raise WrongVersion(
            f"version {manifest.version} is of definition {manifest.definition_hash}, the features are "
            f"{features.definition_hash}; name another with --version"
        )
    if not found.everything:
        raise ValueError(f"no decision follows the training of {manifest.version}; wait for some")
    # The newest decision, not the newest label: labels may come when nobody pays.
    begin, end = found.everything[0].event_timestamp, found.everything[-1].event_timestamp
    if end - begin < period - timedelta(days=1):
        raise ValueError(
            f"only decisions of {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} follow the training of "
            f"{manifest.version}; wait for {period.days} days: a part of a week is not like a week"
        )
    newest = [one for one in found.everything if one.event_timestamp > end - period]
    past = end - timedelta(days=BOUNDS.loss_days)
    earlier = [one for one in found.everything if past < one.event_timestamp <= end - period]
    together = Counter(frozenset(one.scores) for one in newest).most_common(1)[0][0]
    rows = NewRows(
        X=np.array([one.vector for one in newest], dtype=np.float64),
        feature_names=features.names,
        entities_of=entities_of(features),
        entities=_whose(newest, features),
        scores=_scores(newest, manifest.version, together),
        earlier={name: score for name, score in _scores(earlier, manifest.version, together).items() if name != BATCH},
        earlier_entities=_whose(earlier, features),
    )
    judged = judged_rows([row for row in found.rows if row[0].event_timestamp > past], found.fates)
    last = judged.event_time_us.max() if len(judged) else 0
    of_period = judged.event_time_us > last - period // timedelta(microseconds=1)
    mature = MatureRows(judged.y, judged.scores[ALL], judged.card, int(of_period.sum()))
    return DriftReport(
        use_case=features.name,
        version=manifest.version,
        made_at=datetime.now(UTC),
        first=newest[0].event_timestamp,
        last=newest[-1].event_timestamp,
        rows=len(newest),
        cards=len({one.record.card_id for one in newest}),
        mature=mature.newest,
        frauds=int(np.count_nonzero(judged.y[of_period])),
        measured=find_drift(manifest.profile, rows, mature),
        notes=_notes(newest, manifest.version),
    )


def headline(report: DriftReport) -> DriftHeadline:
    """What metrics show of it."""
    measures: dict[str, dict[str, float]] = {}
    alarms = dict.fromkeys((one.measure for one in report.measured), 0)
    for one in report.measured:
        alarms[one.measure] += one.alarm
        if one.value is not None:
            measures.setdefault(one.measure, {})[one.subject] = one.value
    return DriftHeadline(
        use_case=report.use_case,
        version=report.version,
        made_at=report.made_at,
        rows=report.rows,
        measures=measures,
        alarms=alarms,
    )


def _whose(decisions: list[Decision], features: FeatureSet) -> Entities:
    return Entities([one.record for one in decisions], features.entities)


def _scores(decisions: list[Decision], version: str, together: frozenset[str]) -> dict[str, np.ndarray]:
    """By member; of the batch member only what this version said, of all only where these members were together.

    A member that joins is not drift: it is as if the model were another.
    """
    scores = {
        ALL: [
            one.score - one.score_added if together and one.scores.keys() == together else np.nan for one in decisions
        ]
    }
    for member in sorted({member for one in decisions for member in one.scores}):
        scores[member] = [
            said.score
            if (said := one.scores.get(member)) is not None and (member != BATCH or said.version == version)
            else np.nan
            for one in decisions
        ]
    return {member: np.array(score, dtype=np.float64) for member, score in scores.items()}


def _notes(decisions: list[Decision], version: str) -> list[str]:
    others = Counter(
        one.scores[BATCH].version for one in decisions if BATCH in one.scores and one.scores[BATCH].version != version
    )
    return [f"{count:,} events were scored by {other}: their scores are left out" for other, count in others.items()]


def _print(console: Console, report: DriftReport) -> None:
    span = f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}"
    console.print(
        f"{report.use_case}: {report.rows:,} events of {report.cards:,} cards, {span}, against the training of "
        f"{escape(report.version)}; {report.frauds:,} frauds among the newest {report.mature:,} mature events"
    )
    judged = [one for one in report.measured if one.value is not None]
    nearest = sorted(judged, key=lambda one: (not one.alarm, -(one.value or 0.0) / one.limit))
    shown = [one for one in nearest if one.alarm] or nearest[:SHOWN]
    table = Table(title="drifted" if report.alarms else f"nothing drifted; the nearest of {len(judged)} measures")
    for heading in ("measure", "of", "value", "limit", "what it says"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("value", "limit") else "left")
    for one in shown:
        cells = (one.measure, escape(one.subject), f"{one.value:.3g}", f"{one.limit:.3g}", escape(one.says))
        table.add_row(*cells, style="red" if one.alarm else None)
    console.print(table)
    unjudged = [one.subject for one in report.measured if one.value is None]
    if unjudged:
        console.print(f"too little to judge: {len(unjudged)} of them: {escape(', '.join(unjudged))}")
    for note in report.notes:
        console.print(f"note: {escape(note)}")
