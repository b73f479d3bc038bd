"""What `headrace models watch` and `compare` do."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click
import msgspec
from rich.console import Console

from headrace.process_metrics import watched
from headrace.promotion import costs_of, use_case_of
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from headrace.watch_tables import print_report
from scoring.live_models import registry_of
from scoring.watch_metrics import publish
from stream.connection import RedisConnection
from training.shadow import Shadows
from training.watch_loop import watch_forever
from training.watch_store import WatchStore
from training.watched_groups import Spans
from training.watcher import Watcher

FOLDER = "watcher"


def watch_file(home: Path, name: str) -> Path:
    """The watcher's file of one use case, in a folder of its own: on a cluster, a volume of its own."""
    return home / FOLDER / f"{name}.sqlite"


def open_watcher(settings: Settings, name: str, store: WatchStore) -> Watcher:
    """A watcher over its file, as the settings have it."""
    use_case, registry = use_case_of(name), registry_of(settings.home)
    costs = costs_of(settings, use_case)
    spans = Spans(settings.promotion_watch * 1000, settings.label_delay * 1000)
    shadows = Shadows(use_case, registry, costs)
    return Watcher(use_case, store, registry, shadows, spans, acts=settings.rollback)


def run_watcher(settings: Settings, name: str, stop: Event) -> None:
    """Watch until stopped."""
    use_case_of(name)
    path = watch_file(settings.home, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open_log_when_up(settings, stop)
    if log is None:
        return
    with (
        closing(WatchStore(path)) as store,
        RedisConnection(settings.redis) as connection,
        closing(log),
        watched(settings, log) as log,
    ):
        watcher = open_watcher(settings, name, store)
        watch_forever(watcher, log, stop, publish=lambda report: publish(connection, report))


def print_comparison(settings: Settings, name: str, as_json: bool) -> None:
    """What the watcher has found so far, from its file."""
    use_case_of(name)
    path = watch_file(settings.home, name)
    if not path.exists():
        raise click.ClickException(
            f"nobody has watched {name!r} in {settings.home}; run 'headrace models watch {name}'"
        )
    with closing(WatchStore(path)) as store:
        watcher = open_watcher(settings, name, store)
        report = watcher.report(datetime.now(UTC), watcher.watched())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        print_report(report, Console())
