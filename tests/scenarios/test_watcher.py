"""The watcher as a process: killed at any moment it tells what one clean pass does, and it ends a canary by itself."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from click.testing import CliRunner

from headrace.cli import main
from headrace.watch import watch_file
from scoring.watch_metrics import WatchFeed
from scoring.watch_report import WatchReport
from stream.child import Child
from stream.log import lag
from stream.redis_log import RedisLog
from tests.training.conftest import START
from tests.training.served import GOOD
from tests.training.watching import DECLINES, TWIN, decisions, labels, messages, registry_of, send, split, watcher_of
from tests.until import until
from training.watch_loop import GROUP, TOPICS

PARTITIONS = 2
DAYS = 8
MODELS = {"good": GOOD, "twin": TWIN, "declines": DECLINES}


def in_time(there: Callable[[], bool], what: str, child: Child) -> None:
    def came() -> bool:
        assert child.running, child.log_tail()
        return there()

    until(came, lambda: f"no {what}: {child.log_tail()}")


def watching(home: Path, environment: dict[str, str]) -> Child:
    command = [sys.executable, "-m", "headrace.cli", "models", "watch", "fraud"]
    return Child(command, home / "watch.log", environment=environment)


def whose(db: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Of every event, who was asked and whether that gave a number."""
    return db.execute("SELECT event_id, version, answered FROM decisions ORDER BY event_id").fetchall()


def kept(home: Path) -> int:
    """How many decisions are in the file."""
    try:
        with closing(sqlite3.connect(f"file:{watch_file(home, 'fraud')}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM decisions").fetchone()[0])
    except sqlite3.Error:
        return 0


def killed_while_it_reads(home: Path, environment: dict[str, str]) -> None:
    """SIGKILL as soon as something new is in the file, most likely with more to read."""
    before, child = kept(home), watching(home, environment)
    try:
        in_time(lambda: kept(home) > before, "decision in the file", child)
    finally:
        child.kill()


def test_killed_again_and_again_it_tells_what_one_pass_does_and_ends_the_canary(tmp_path: Path, redis_db: str) -> None:
    since = START + timedelta(days=1)
    registry = registry_of(tmp_path / "models", MODELS, "good", START)
    registry.alias("fraud", "shadow", "twin", by="ann", at=START)
    registry.alias("fraud", "canary", "declines", by="bob", share=25, at=since)
    asked = split("good", "declines", 25, since)

    def version_of(card: str, at: datetime) -> str:
        return "" if at.microsecond % 50 == 0 else asked(card, at)

    served, known = decisions(MODELS, version_of, days=DAYS), labels(DAYS)
    environment = {
        "HEADRACE_HOME": str(tmp_path),
        "HEADRACE_REDIS": redis_db,
        "HEADRACE_PARTITIONS": str(PARTITIONS),
        "HEADRACE_LABEL_DELAY": "1d",
        "HEADRACE_PROMOTION_WATCH": "3d",
    }
    with closing(RedisLog(redis_db, partitions=PARTITIONS)) as log:
        for number, part in enumerate((served[:1200], served[1200:2400], served[2400:])):
            log.append(messages(part))
            log.append(messages(known[number * 1000 : (number + 1) * 1000]))
            killed_while_it_reads(tmp_path, environment)
        log.append(messages(known[3000:]))
        child = watching(tmp_path, environment)
        try:
            in_time(lambda: not any(any(lag(log, GROUP, topic).values()) for topic in TOPICS), "end of the log", child)
            in_time(lambda: "canary" not in registry.aliases("fraud"), "rollback", child)
            with closing(WatchFeed(redis_db, ["fraud"])) as feed:
                said = 'headrace_rollbacks_total{alias="canary",use_case="fraud"} 1.0'
                in_time(lambda: said in feed.text(), "metric", child)
                assert "headrace_shadow_agreement" in feed.text()
        finally:
            child.stop(20)
    last = registry.history("fraud")[-1]
    assert (last.alias, last.by) == ("canary", "headrace")
    assert last.why.startswith("alert rate 9")
    compared = CliRunner().invoke(main, ["models", "compare", "fraud", "--json"], env=environment)
    assert compared.exit_code == 0, compared.output
    told = msgspec.json.decode(compared.output, type=WatchReport)
    clean = watcher_of(registry)
    send(clean, served)
    send(clean, known)
    assert told == clean.report(told.made_at, clean.watched())
    assert told.decisions == len(served)
    batch = [one.scores.get("batch") for one in served]
    assert told.comparisons[0].rows == sum(one is not None and one.version == "good" for one in batch)
    with closing(sqlite3.connect(watch_file(tmp_path, "fraud"))) as db:
        found = whose(db)
    assert found == whose(clean._store.db)
    events = {one.event_id: (asked(one.record.card_id, one.scored_at), bool(one.scores)) for one in served}
    assert {event_id: (version, bool(answered)) for event_id, version, answered in found} == events
    assert 0 < batch.count(None) < len(served) / 10
    shown = CliRunner().invoke(main, ["models", "compare", "fraud"], env={**environment, "COLUMNS": "160"})
    assert "twin against the champion good" in shown.output
    assert "rolled back" in shown.output
