"""What an operator asks of a running stack: is all well (`headrace doctor`), and what was decided (the audit chain).

One stack for both, in this order: the doctor wants nothing missing, the chain begins with its keeper.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.stack import Stack
from stream.records import Transaction, encode
from tests.patient import ask

pytestmark = pytest.mark.slow

LIMIT_S = 240.0
PAYMENTS = 20
Operated = tuple[Stack, str]


@pytest.fixture(scope="module")
def operated(shared_stack: Stack) -> Operated:
    """A stack with a worker, a learner and a service, and the service's URL."""
    shared_stack.start_workers()
    shared_stack.start("learner", "learn")
    return shared_stack, shared_stack.start_service()


def examined(stack: Stack, url: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["doctor", "--url", url], env=dict(stack.settings.environment()))
    return done.exit_code, done.output


def test_a_running_stack_is_well_and_a_missing_worker_is_named(operated: Operated) -> None:
    stack, url = operated
    until = time.monotonic() + LIMIT_S
    status, said = examined(stack, url)
    while status and time.monotonic() < until:  # The worker and the learner are still joining.
        time.sleep(0.5)
        status, said = examined(stack, url)
    assert status == 0, said
    assert "OK    worker        1 running" in said
    assert f"OK    service       ready at {url}" in said
    stack.children.pop("worker-0").stop(60)
    until = time.monotonic() + LIMIT_S
    status, said = examined(stack, url)
    while said.count("FAIL") != 1 and time.monotonic() < until:  # What is busy may be late for a moment.
        time.sleep(0.5)
        status, said = examined(stack, url)
    assert status == 1
    assert "FAIL  worker        none is running" in said
    assert said.count("FAIL") == 1, said


def run(stack: Stack, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--home", str(stack.home)])


def kept(stack: Stack) -> int:
    result = run(stack, "audit", "verify", "--json")
    return int(json.loads(result.output)["by_kind"].get("decision", 0)) if result.exit_code == 0 else 0


def test_what_a_running_service_decides_is_kept_verified_and_replayed(operated: Operated) -> None:
    stack, url = operated
    keeper = stack.start("audit", "audit", "keep")
    for number in range(PAYMENTS):
        payment = Transaction(
            event_id=f"audited-{number}",
            event_timestamp=datetime.now(UTC),
            card_id=f"card-{number % 5}",
            merchant_id="m1",
            amount=10.0 + 90 * number,
        )
        answer = ask(url, "POST", "/fraud/score", encode(payment))
        assert answer.status == 200, answer
        if number == PAYMENTS // 2:
            keeper.kill()
            keeper = stack.start("audit", "audit", "keep")
    until = time.monotonic() + LIMIT_S
    while kept(stack) < PAYMENTS and time.monotonic() < until:
        time.sleep(0.2)
    assert kept(stack) == PAYMENTS

    anchor = run(stack, "audit", "anchor").output.strip()
    result = run(stack, "audit", "verify", "--anchor", anchor)
    assert result.exit_code == 0, result.output
    for number in range(0, PAYMENTS, 4):
        result = run(stack, "audit", "replay", f"audited-{number}", "--json")
        (found,) = json.loads(result.output)
        assert (result.exit_code, found["differing"], found["unchecked"]) == (0, [], {}), result.output
    assert "fields equal bit for bit" in run(stack, "audit", "replay", "audited-1").output

    first = next(iter(sorted((stack.home / "audit").glob("*.chain"))))
    first.write_bytes(first.read_bytes().replace(b'"amount":10.0', b'"amount":11.0', 1))
    result = run(stack, "audit", "verify")
    assert result.exit_code == 1
    assert f"BROKEN at segment {first.name}" in result.output
    result = run(stack, "audit", "replay", "audited-0")
    assert result.exit_code == 1
    assert "was changed" in result.output
