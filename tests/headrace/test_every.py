"""What runs again and again: rounds, failures, the end, and what /metrics says of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import sleep

import click
import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from headrace.cli import main
from headrace.drift import look
from headrace.every import NotYet, repeat
from scoring.quality_report import EvaluationHeadline, evaluation_key
from scoring.schedule_metrics import ScheduleFeed
from scoring.schedule_report import ScheduleReport, schedule_key
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from tests.headrace.test_evaluate import decided, labelled
from tests.scoring.conftest import MANIFEST
from tests.training.contest import frame
from tests.training.test_evaluation import archived, truth
from tests.until import LIMIT_S, until
from training.matured import Fates, Matured


def report_of(connection: RedisConnection, name: str) -> ScheduleReport:
    content = connection.one("GET", schedule_key(name))
    assert content is not None
    return msgspec.json.decode(content, type=ScheduleReport)


def test_a_round_that_fails_is_counted_and_tried_again_sooner(redis_db: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop = Event()
    failures: list[int] = []
    with RedisConnection(redis_db) as connection:

        def work(go_on: Callable[[object], None]) -> str:
            if failures:
                failures.append(report_of(connection, "skew").failures)
            else:
                failures.append(0)
            if len(failures) == 1:
                raise KeyError("card-4711")
            if len(failures) == 2:
                raise click.ClickException("there is no archive")
            stop.set()
            return "done"

        # An interval of an hour: only the sooner retries let this end.
        running = Thread(target=repeat, args=("skew", work, 3600.0, stop, redis_db), kwargs={"retry_s": 0.01})
        running.start()
        running.join(LIMIT_S)
        stop.set()
        assert failures == [0, 1, 2]
        last = report_of(connection, "skew")
    assert (last.failures, last.said, last.every_s) == (0, "done", 3600.0)
    assert "there is no archive" in caplog.text
    assert "skew: KeyError" in caplog.text
    assert not any("card-4711" in line.getMessage() for line in caplog.records)


def test_nothing_to_do_yet_is_no_failure_and_waits_for_the_next_round(redis_db: str) -> None:
    stop = Event()
    rounds = []

    def work(go_on: Callable[[object], None]) -> str:
        rounds.append(1)
        raise NotYet("no labels yet")

    running = Thread(target=repeat, args=("feedback", work, 3600.0, stop, redis_db), kwargs={"retry_s": 0.01})
    running.start()
    with closing(ScheduleFeed(redis_db)) as feed:
        until(lambda: "headrace_schedule_failures{" in feed.text())
        sleep(0.2)
        stop.set()
        running.join(LIMIT_S)
        told = {
            sample.name: (sample.labels, sample.value)
            for family in text_string_to_metric_families(feed.text())
            for sample in family.samples
        }
    assert not running.is_alive()
    assert len(rounds) == 1
    assert told["headrace_schedule_failures"] == ({"schedule": "feedback"}, 0.0)
    assert told["headrace_schedule_interval_seconds"][1] == 3600.0
    assert 0.0 <= told["headrace_schedule_age_seconds"][1] < LIMIT_S


def test_a_champion_that_nothing_can_be_compared_with_is_a_failure_since_no_waiting_helps(redis_db: str) -> None:
    stop = Event()
    nothing = Matured([], [], Fates(0, 0, 0, 0, 0, 0))

    def work(go_on: Callable[[object], None]) -> str:
        stop.set()
        return str(look(MANIFEST, FRAUD.features, nothing, timedelta(days=7)))

    repeat("drift", work, 3600.0, stop, redis_db)
    with RedisConnection(redis_db) as connection:
        last = report_of(connection, "drift")
    assert (last.failures, "without a profile" in last.said) == (1, True)


def test_a_round_ends_where_it_next_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    stop = Event()
    seen = []

    def work(go_on: Callable[[object], None]) -> str:
        for place in range(1000):
            seen.append(place)
            if place == 3:
                stop.set()
            go_on(place)
        return "never"

    repeat("drift", work, 3600.0, stop)
    assert seen == [0, 1, 2, 3]
    assert not caplog.records  # an end is no failure


def test_a_redis_that_is_gone_ends_no_schedule() -> None:
    stop = Event()
    rounds = []

    def work(go_on: Callable[[object], None]) -> str:
        rounds.append(1)
        if len(rounds) == 2:
            stop.set()
        return "done"

    repeat("drift", work, 0.01, stop, "redis://127.0.0.1:1/0")
    assert len(rounds) == 2


@pytest.mark.parametrize("command", ["evaluate", "drift"])
def test_an_interval_that_cannot_be_kept_is_refused(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--every", "5ms"])
    assert result.exit_code == 2
    assert "at least 1s" in result.output
    assert CliRunner().invoke(main, [command, "--every", "often"]).exit_code == 2


def test_an_evaluation_on_schedule_replaces_its_page_and_ends_by_sigterm(tmp_path: Path, redis_db: str) -> None:
    rows = frame()
    archived(tmp_path / "archive", *decided(rows, truth().scores["all"]), *labelled(rows, timedelta(days=2)))
    page = tmp_path / "reports" / "evaluation.html"
    words = ["evaluate", "--every", "1s", "--draws", "20", "--label-delay", "3d", "--html", str(page)]
    environment = os.environ | {"HEADRACE_REDIS": redis_db, "HEADRACE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "headrace.cli", *words]
    with (
        RedisConnection(redis_db) as connection,
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child,
    ):
        try:
            until(lambda: connection.one("GET", evaluation_key("fraud")) is not None)
            first = made_at(connection)
            assert page.read_text().rstrip().endswith("</html>")
            until(lambda: made_at(connection) > first)
            # Its report follows what was made.
            until(lambda: connection.one("GET", schedule_key("evaluate")) is not None)
            assert report_of(connection, "evaluate").failures == 0
        finally:
            child.send_signal(signal.SIGTERM)
            _, errors = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 0, errors
    assert [path.name for path in page.parent.iterdir()] == ["evaluation.html"]


def made_at(connection: RedisConnection) -> float:
    content = connection.one("GET", evaluation_key("fraud"))
    return msgspec.json.decode(content, type=EvaluationHeadline).made_at.timestamp()
