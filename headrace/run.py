"""What the commands that are one process do."""

from __future__ import annotations

import difflib
import logging
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from features.declared import all_views
from headrace.assembly import open_online_store, open_outbox, open_scorer
from headrace.cards import open_guard
from headrace.process_metrics import watched
from headrace.running import none_named
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from scoring.observed import Observed
from scoring.use_case import FRAUD, USE_CASES
from stream.connection import RedisConnection
from stream.records import TOPICS

if TYPE_CHECKING:
    from training.state_files import Every

KEEP_ALIVE_S = 75
STREAMS_GRACE_S = 6
"""How long a stopping service with pages waits for their streams; the longest answer of the API takes 5 s."""
_log = logging.getLogger(__name__)


def run_worker(settings: Settings, stop: Event) -> None:
    """Fold until stopped."""
    import features.kernel  # noqa: F401  what is compiled is loaded now, not with partitions in hand
    from features.pipeline import work_forever
    from features.worker import Folder

    store = open_online_store(settings)
    log = open_log_when_up(settings, stop)
    if log is not None:
        with closing(log), watched(settings, log) as log:
            work_forever(Folder(store, all_views(), log.name), log, stop)


def run_scorer(settings: Settings, topic: str, stop: Event) -> None:
    """Score what arrives on a topic until stopped."""
    import features.kernel  # noqa: F401  loaded now, as in a worker
    from scoring.stream_door import Progress, group_of, score_forever

    group_of(topic)
    scorer, feeds = open_scorer(settings, FRAUD)
    log = open_log_when_up(settings, stop)
    if log is None:
        return
    feeds.start()
    say = Progress(lambda text: _log.info("%s: %s", topic, text))
    observed = Observed(FRAUD.name)
    with closing(log), closing(scorer), watched(settings, log, feeds.readings(observed, scorer)) as log:
        try:
            score_forever(scorer, log, topic, settings.clock_skew, stop, on_batch=say, on_decision=observed.score)
        finally:
            feeds.stop()


def run_relay(settings: Settings, stop: Event) -> None:
    """Move the outbox to Kafka until stopped."""
    from stream.relay import relay

    if not settings.kafka:
        raise click.ClickException("there is nothing to relay to: give --kafka HOST:PORT")
    outbox = open_outbox(settings)
    log = open_log_when_up(settings, stop)
    if log is not None:
        with closing(outbox), closing(log), watched(settings, outbox) as watched_outbox:
            relay(watched_outbox, log, TOPICS, stop)


def run_learner(settings: Settings, stop: Event) -> None:
    """Learn until stopped."""
    from models.online import OnlineLearner
    from training.learner import DelayedLearner
    from training.learner_loop import learn_forever
    from training.learner_store import FILE, LearnerStore
    from training.publisher import RedisPublisher

    settings.home.mkdir(parents=True, exist_ok=True)
    beginning = OnlineLearner(FRAUD.features.names, definition_hash=FRAUD.features.definition_hash)
    store = LearnerStore(settings.home / FILE)
    learner = DelayedLearner(store, beginning, use_case=FRAUD.name)
    publish = RedisPublisher(RedisConnection(settings.redis), FRAUD.name)
    log = open_log_when_up(settings, stop)
    if log is not None:
        with closing(log), watched(settings, log) as log:
            learn_forever(learner, log, stop, publish=publish, publish_interval_s=0.5)
    store.close()


def run_service(settings: Settings) -> None:
    """Become BentoML's server for the fraud service."""
    if not settings.redis:
        raise click.ClickException(none_named(settings, "the service's store is a Redis"))
    environment = os.environ | settings.environment() | {"BENTOML_DO_NOT_TRACK": "True"}
    environment["BENTOML_HOME"] = str((settings.home / "bentoml").resolve())
    environment["HEADRACE_HOME"] = str(settings.home.resolve())
    port = settings.port or 3000
    command = [sys.executable, "-m", "bentoml", "serve", "scoring.service:Fraud"]
    command += ["--host", settings.host, "--port", str(port), "--working-dir", str(Path(__file__).parent.parent)]
    # Callers hold their connections; the default closes an idle one after 5 s.
    command += ["--timeout-keep-alive", str(KEEP_ALIVE_S)]
    if settings.review_pages:
        # Their streams last until the page goes; no answer of the API takes as long.
        command += ["--timeout-graceful-shutdown", str(STREAMS_GRACE_S)]
    os.execve(sys.executable, command, environment)


def write_feature_states(
    settings: Settings, data: Path, mapping: Path | None, start: datetime | None, end: datetime | None, every: Every
) -> None:
    """Fold a file, and the labels that become known meanwhile, into the files that Feast's state views read."""
    from headrace.source import FileSource
    from training.states import arrivals, write_states

    first = datetime.min.replace(tzinfo=UTC) if start is None else start.replace(tzinfo=UTC)
    until = None if end is None else end.replace(tzinfo=UTC)
    played = FileSource.open(data, mapping, open_guard(settings)).between(first, until)
    folder = settings.home / "states"
    for name, rows in write_states(FRAUD.features, arrivals(played, until), folder, every=every).items():
        click.echo(f"{rows:>9} rows  {folder / name}_state.parquet")


def print_catalogue() -> None:
    """The catalogue as a table."""
    from rich.console import Console
    from rich.table import Table

    for use_case in USE_CASES.values():
        title = (
            f"{use_case.name}: {len(use_case.features.names)} features, definition {use_case.features.definition_hash}"
        )
        table = Table(title=title)
        for heading in ("name", "view", "window", "unit", "description"):
            table.add_column(heading, overflow="fold")
        for entry in use_case.features.catalogue():
            table.add_row(entry.name, entry.view, entry.window, entry.unit, entry.description)
        Console().print(table)


def print_feature(name: str) -> None:
    """One entry of the catalogue, in full; an unknown name suggests the nearest."""
    for use_case in USE_CASES.values():
        for entry in use_case.features.catalogue():
            if entry.name == name:
                facts = {
                    "name": entry.name,
                    "description": entry.description,
                    "type": "float64, null where unknown",
                    "unit": entry.unit,
                    "view": entry.view,
                    "window": entry.window or "none",
                    "position": str(use_case.features.names.index(name)),
                    "feature set": use_case.features.name,
                    "definition": use_case.features.definition_hash,
                }
                for key, text in facts.items():
                    click.echo(f"{key:<14}{text}")
                return
    every = [feature for use_case in USE_CASES.values() for feature in use_case.features.names]
    near = difflib.get_close_matches(name, every, n=1)
    raise click.ClickException(f"there is no feature {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def apply_features(settings: Settings) -> subprocess.Popen[bytes]:
    """`headrace features apply` in a process of its own: importing Feast takes seconds."""
    command = [sys.executable, "-W", "ignore", "-m", "headrace.cli", "features", "apply"]
    return subprocess.Popen(
        command, env=os.environ | settings.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
