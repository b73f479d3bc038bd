"""The audit chain of a running stack: kept by its own process, verified and replayed by command."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import UTC, datetime

from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.stack import Stack
from stream.records import Transaction, encode

PAYMENTS = 40


def post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def run(stack: Stack, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--home", str(stack.home)])


def kept(stack: Stack) -> int:
    result = run(stack, "audit", "verify", "--json")
    return int(json.loads(result.output)["by_kind"].get("decision", 0)) if result.exit_code == 0 else 0


def test_what_a_running_service_decides_is_kept_verified_and_replayed(stack: Stack) -> None:
    stack.start("learner", "learn")
    keeper = stack.start("audit", "audit", "keep")
    url = stack.start_service()
    for number in range(PAYMENTS):
        payment = Transaction(
            event_id=f"audited-{number}",
            event_timestamp=datetime.now(UTC),
            card_id=f"card-{number % 5}",
            merchant_id="m1",
            amount=10.0 + 90 * number,
        )
        post(f"{url}/fraud/score", encode(payment))
        if number == PAYMENTS // 2:
            keeper.kill()
            keeper = stack.start("audit", "audit", "keep")
    until = time.monotonic() + 60
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
