"""`headrace doctor` on the real processes: all well, then one of them stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from headrace.stack import Stack

LIMIT_S = 60.0


def examined(stack: Stack, url: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "headrace.cli", "doctor", "--url", url]
    done = subprocess.run(
        command,
        env=os.environ | stack.settings.environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_running_stack_is_well_and_a_missing_worker_is_named(stack: Stack) -> None:
    stack.start_workers()
    stack.start("learner", "learn")
    url = stack.start_service()
    until = time.monotonic() + LIMIT_S
    status, said = examined(stack, url)
    while status and time.monotonic() < until:  # The worker and the learner are still joining.
        status, said = examined(stack, url)
    assert status == 0, said
    assert "OK    worker        1 running" in said
    assert f"OK    service       ready at {url}" in said
    stack.children.pop("worker-0").stop(10)
    status, said = examined(stack, url)
    assert status == 1
    assert "FAIL  worker        none is running" in said
    assert said.count("FAIL") == 1, said
