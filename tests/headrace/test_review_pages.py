"""`headrace review serve` as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from headrace.cli import main

WAIT_S = 60.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"HEADRACE_HOME": str(tmp_path), "HEADRACE_REVIEW_URL": "", "PYTHONUNBUFFERED": "1"}


def test_the_pages_start_say_how_to_sign_in_answer_and_stop(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "headrace.cli", "review", "serve", "--review-port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as pages:
        assert pages.stdout is not None
        try:
            said = "".join(pages.stdout.readline() for _ in range(3))
            link = re.search(r"http://localhost:\d+/set-password/\S+", said)
            address = re.search(r"pages at (http://localhost:\d+/)", said)
            assert link and address, said
            with httpx.Client(timeout=WAIT_S, headers={"accept": "text/html"}) as client:
                assert client.get(link[0]).status_code == 200
                answer = client.get(address[1])
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/")
            assert "script-src 'self'" in answer.headers["content-security-policy"]
        finally:
            pages.send_signal(signal.SIGTERM)
        assert pages.wait(WAIT_S) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_is_named_with_its_setting(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = CliRunner().invoke(main, ["review", "serve", "--review-port", port], env=environment)
    assert refused.exit_code == 1
    assert port in refused.output
    assert "HEADRACE_REVIEW_PORT" in refused.output
