"""The demo as a person runs it: twice at once, stopped by Ctrl-C, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]


def start_demo(scratch: Path, *options: str) -> subprocess.Popen[bytes]:
    scratch.mkdir()
    command = [sys.executable, "-m", "headrace.cli", "demo", "--rate", "40", *options]
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


def wait_for(scratch: Path, words: str, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while words not in said(scratch):
        assert time.monotonic() < end, said(scratch)
        time.sleep(0.2)


def test_two_demos_at_once_sum_up_and_leave_nothing_behind(tmp_path: Path) -> None:
    by_time, by_hand = tmp_path / "by-time", tmp_path / "by-hand"
    summary = tmp_path / "summary.json"
    first = start_demo(by_time, "--seconds", "8", "--summary", str(summary))
    second = start_demo(by_hand, "--seconds", "500")
    wait_for(by_hand, "scored 1", 240)
    second.send_signal(signal.SIGINT)
    assert second.wait(60) == 0, said(by_hand)
    assert first.wait(240) == 0, said(by_time)
    for scratch in (by_time, by_hand):
        assert "Summary" in said(scratch)
        assert "events scored" in said(scratch)
        assert processes_of(scratch) == []
        assert list(scratch.iterdir()) == []
    figures = json.loads(summary.read_text())
    assert figures["events_scored"] > 100
    assert sum(figures["outcomes"].values()) == figures["events_scored"]
    assert figures["errors"] == {}
    assert not figures["interrupted"]
    assert figures["latency_p50_ms"] <= figures["latency_p99_ms"]
