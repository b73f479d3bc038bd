"""The real service keeps what its OpenAPI document promises: schemathesis asks, with bodies of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack")]

CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
# With a deadline of a millisecond a 503 is a true answer, and documented.
CONFIG = """\
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
EXAMPLES = 25
HOOKS = "tests.scenarios.schemathesis_hooks"
ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 45


def test_every_answer_is_as_documented(service_url: str, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    command += ["run", f"{service_url}/docs.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", str(EXAMPLES), "--seed", "7", "--max-time", str(LIMIT_S), "--no-color"]
    command += ["--generation-database", "none", "--continue-on-failure"]
    started = time.monotonic()
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=3 * LIMIT_S, check=False
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    assert time.monotonic() - started < 2 * LIMIT_S
