"""`headrace up` as the README has it: in some directory, with nothing set."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.played import Played
from stream.records import encode
from tests.patient import ask
from tests.until import until

pytestmark = pytest.mark.slow
STOP_LIMIT_S = 240.0


def test_in_an_empty_environment_everything_is_in_the_home_beside_it(
    trained_home: Path, tmp_path: Path, payments: list[Played]
) -> None:
    home, output = tmp_path / ".headrace", tmp_path / "up.out"
    shutil.copytree(trained_home, home)
    unset = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    with output.open("wb") as written:
        up = subprocess.Popen(
            [sys.executable, "-m", "headrace.cli", "up"],
            cwd=tmp_path,
            env=unset | {"HEADRACE_DEADLINE": "10s"},
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        until(lambda: up.poll() is not None or "ready at" in output.read_text(), output.read_text)
        ready = re.search(r"ready at (http\S+);", output.read_text())
        assert ready, output.read_text()
        assert ask(ready[1], "POST", "/fraud/score", encode(payments[0].transaction)).status == 200
        until(lambda: (home / "learner.sqlite").exists() and (home / "review.sqlite").exists())
        examined = subprocess.run(
            [sys.executable, "-m", "headrace.cli", "doctor"],
            cwd=tmp_path,
            env=unset,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"ready at {ready[1]}" in examined.stdout and "OK    redis " in examined.stdout, examined.stdout
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(STOP_LIMIT_S)
    assert {path.name for path in tmp_path.iterdir()} == {".headrace", "up.out"}
    assert list(home.rglob(".headrace")) == []
    assert {path.suffix for path in (home / "logs").iterdir()} == {".log"}
