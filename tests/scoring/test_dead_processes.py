from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scoring.dead_processes import VARIABLE, forget_dead_processes


def test_the_present_of_a_process_that_has_ended_is_forgotten_and_what_it_counted_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [f"gauge_livemax_{ended.pid}.db", f"gauge_livemax_{os.getpid()}.db", f"counter_{ended.pid}.db"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    forget_dead_processes()
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


def test_without_shared_metrics_there_is_nothing_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    forget_dead_processes()
