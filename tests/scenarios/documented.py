"""The real service keeps what its OpenAPI document promises: schemathesis asks, with bodies of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.patient import SOCKET_LIMIT_S

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
EXAMPLES = 12
"""Of each operation. With a `--max-time`, schemathesis would go on until that is over, whatever they are."""
HOOKS = "tests.scenarios.schemathesis_hooks"
ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 900


def every_answer_is_as_documented(url: str, directory: Path) -> None:
    """Ask every operation of the document for whatever it allows and whatever it does not."""
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    command += ["run", f"{url}/docs.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]
    command += [
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "7",
        "--no-color",
        "--request-timeout",
        f"{SOCKET_LIMIT_S:g}",
    ]
    command += ["--generation-database", "none", "--continue-on-failure"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=directory, env=environment, timeout=LIMIT_S, check=False
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
