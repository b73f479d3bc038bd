"""The demo as a person runs it: twice at once, stopped by Ctrl-C, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.until import until

pytestmark = pytest.mark.slow


SHORTER = """
from functools import partial
from headrace import demo, shop_demo
from headrace.cli import main
demo.SIMULATED_BOOTSTRAP_DAYS, demo.TRAINING_ROWS = 40, 4000
demo.SimulatedSource = partial(demo.SimulatedSource, customers=160)
shop_demo.MadeUpShop = partial(shop_demo.MadeUpShop, shoppers=400)
shop_demo.SEQUENCED_TIMEOUT_S = 300.0
main()
"""
"""What a person starts, with less to learn from: that is most of a demo's time."""


LIMIT_S = 900.0
ENOUGH = r"(?s)scored\s+(?:[3-9]\d\d|[\d,]{4,})\s.*click-through.{0,80}?\d%"
"""What it says when some hundred payments were scored and a look at a slate was counted."""


def start_demo(scratch: Path, *options: str) -> subprocess.Popen[bytes]:
    scratch.mkdir()
    command = [sys.executable, "-c", SHORTER, "demo", "--rate", "40", *options]
    with (scratch.parent / f"{scratch.name}.out").open("wb") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"TMPDIR": str(scratch)}, start_new_session=True
        )


def said(scratch: Path) -> str:
    return (scratch.parent / f"{scratch.name}.out").read_text()


def processes_of(scratch: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join(process.cmdline()) + " ".join(process.environ().values())
        except psutil.Error:
            continue
        if str(scratch) in text and process.pid != os.getpid():
            found.append(text[:200])
    return found


def wait_for(demo: subprocess.Popen[bytes], scratch: Path, pattern: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not re.search(pattern, said(scratch)):
        assert time.monotonic() < end and demo.poll() is None, said(scratch)
        time.sleep(0.2)


def has_ended_well(demo: subprocess.Popen[bytes], scratch: Path) -> None:
    """It has summed up, and nothing of it is left: no process, no file."""
    assert demo.wait(LIMIT_S) == 0, said(scratch)
    assert "Summary" in said(scratch)
    assert "events scored" in said(scratch)
    # What was killed may take a moment to be gone; what was left behind stays.
    until(lambda: processes_of(scratch) == [], lambda: processes_of(scratch))
    assert list(scratch.iterdir()) == []


def sums_up_well(summary: Path, was_interrupted: bool) -> None:
    """Everybody was answered, payments and shoppers alike, and by a trained ranker."""
    figures = json.loads(summary.read_text())
    assert sum(figures["outcomes"].values()) == figures["events_scored"]
    assert figures["errors"] == {}
    assert figures["interrupted"] is was_interrupted
    assert figures["latency_p50_ms"] <= figures["latency_p99_ms"]
    shoppers = figures["shoppers"]
    assert shoppers["deleted_shown"] == shoppers["errors"] == {}
    assert sum(arm["slates"] for arm in shoppers["arms"].values()) > 10
    assert not shoppers["versions"].get("ranker", "").startswith("blend")
    assert figures["events_scored"] > 100


def test_a_demo_that_is_interrupted_sums_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch, summary = tmp_path / "by-hand", tmp_path / "summary.json"
    with ExitStack() as ends:
        demo = start_demo(scratch, "--seconds", "500", "--summary", str(summary))
        ends.callback(demo.terminate)
        wait_for(demo, scratch, ENOUGH)
        demo.send_signal(signal.SIGINT)
        has_ended_well(demo, scratch)
    sums_up_well(summary, was_interrupted=True)


@pytest.mark.thorough
def test_two_demos_at_once_sum_up_and_leave_nothing_behind(tmp_path: Path) -> None:
    by_time, by_hand = tmp_path / "by-time", tmp_path / "by-hand"
    summary = tmp_path / "summary.json"
    with ExitStack() as ends:
        first = start_demo(by_time, "--seconds", "6", "--summary", str(summary))
        ends.callback(first.terminate)
        second = start_demo(by_hand, "--seconds", "500", "--no-shoppers")
        ends.callback(second.terminate)
        wait_for(second, by_hand, r"scored +[1-9]")
        second.send_signal(signal.SIGINT)
        has_ended_well(second, by_hand)
        has_ended_well(first, by_time)
    sums_up_well(summary, was_interrupted=False)
