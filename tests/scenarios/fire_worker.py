"""A worker that tests start as a child: slowed, crashing at a chosen instant, or with its ordered effects spoilt.

Run as `python -m tests.scenarios.fire_worker`, with the settings in the environment. Nothing in the product knows it.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import ExitStack
from threading import Event
from typing import Any
from unittest.mock import patch

from features.declared import all_views
from features.history import History
from features.online_store import OnlineStore
from features.pipeline import work_forever
from features.worker import FoldCount, Folder, Report
from headrace.assembly import open_online_store
from headrace.settings import Settings
from stream.log import Consumer, Entry, Log, Partition
from stream.redis_log import RedisLog

SABOTAGES = ("none", "commit first", "primaries first", "no offset check", "no recent ids")
INSTANTS = ("never", "polled", "half written", "written", "committed")
LEASE_MS = 1000


def crash() -> None:
    """End here and now, as SIGKILL does."""
    os.kill(os.getpid(), signal.SIGKILL)


class SpoiltFolder(Folder):
    """A folder that is slow, dies at an instant, or writes the primary states before the others."""

    def __init__(self, store: OnlineStore, log_name: str, sabotage: str, instant: str, slow_s: float) -> None:
        super().__init__(store, all_views(), log_name)
        self.primaries_first = sabotage == "primaries first"
        self.instant = instant
        self.slow_s = slow_s
        self.others: tuple[Any, ...] | None = None

    def fold(self, batch: dict[Partition, list[Entry]], report: Report = lambda letters: None) -> FoldCount:
        if self.instant == "polled":
            crash()
        time.sleep(self.slow_s)
        count = super().fold(batch, report)
        if self.instant == "written":
            crash()
        return count

    def _write(self, *arguments: Any) -> None:
        # `fold` calls this twice: with the others, then with the primaries.
        if self.primaries_first and self.others is None:
            self.others = arguments
            return
        super()._write(*arguments)
        if self.instant == "half written":
            crash()
        if self.others is not None:
            others, self.others = self.others, None
            super()._write(*others)


def commit_first(folder: Folder, log: Log, consumer: Consumer, batch_limit: int, poll_timeout_ms: int) -> FoldCount:
    """`work_once` with its steps reversed."""
    polled = consumer.poll(batch_limit, poll_timeout_ms)
    if not polled:
        return FoldCount()
    consumer.commit({partition: entries[-1].offset + 1 for partition, entries in polled.items()})
    return folder.fold(polled)


def work(sabotage: str, instant: str, slow_s: float) -> None:
    """Fold until killed."""
    settings = Settings()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log = RedisLog(settings.redis, settings.partitions, lease_ms=LEASE_MS)
    folder = SpoiltFolder(open_online_store(settings), log.name, sabotage, instant, slow_s)
    with ExitStack() as spoilt:
        if sabotage == "commit first":
            spoilt.enter_context(patch("features.pipeline.work_once", commit_first))
        if sabotage == "no offset check":
            spoilt.enter_context(patch.object(History, "applied", lambda self, source: -1))
        if sabotage == "no recent ids":
            spoilt.enter_context(patch.object(History, "remember", lambda self, identity: None))
        work_forever(folder, log, stop, on_batch=lambda _: crash() if instant == "committed" else None)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sabotage", choices=SABOTAGES, default="none")
    arguments.add_argument("--instant", choices=INSTANTS, default="never")
    arguments.add_argument("--slow-s", type=float, default=0.0)
    given = arguments.parse_args()
    work(given.sabotage, given.instant, given.slow_s)
