"""What analysts say in review and through the labels' API is in the next decision, after one round of `feedback`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.review import FILE, open_cases
from headrace.settings import Settings
from headrace.stack import Stack
from review.case_store import CaseStore
from stream.played import Played
from stream.records import Decision, Label, encode
from tests.patient import ask_over
from tests.scenarios.archived import archive_all
from tests.scenarios.test_whole_way import Client
from tests.until import until

pytestmark = pytest.mark.slow
DELAY = timedelta(days=7)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    stack.start("review", "review", "keep")
    made = Client(stack.start_service())
    with closing(made.link):
        yield made


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=dict(settings.environment()), catch_exceptions=False)


def test_a_verdict_is_in_the_next_decision_after_one_round(
    stack: Stack, client: Client, payments: list[Played]
) -> None:
    settings = stack.settings
    refused = run(settings, "feedback", "--once")
    assert refused.exit_code == 1
    assert "'headrace archive'" in refused.output
    for one in payments:
        status, answer = client.send("POST", "/fraud/score", encode(one.transaction))
        assert status == 200, answer
        assert "feedback" not in answer["scores"]
        assert answer["degraded"] == []

    # Analysts find that small amounts are fraud, of which the first model knows nothing.
    limit = sorted(one.transaction.amount for one in payments)[len(payments) // 10]
    for number, one in enumerate(payments):
        paid = one.transaction
        label = Label(
            event_id=paid.event_id,
            label="fraud" if paid.amount < limit else "legit",
            labelled_at=datetime.now(UTC) if number % 2 else paid.event_timestamp + DELAY,
            source="analyst:ann" if number % 2 else "chargebacks",
        )
        assert client.send("POST", "/labels", encode(label))[0] == 202
    until(lambda: open_cases(settings) > 0)
    with closing(CaseStore(settings.home / FILE)) as cases:
        case_id = cases.queue()[0].case_id
    decided = run(settings, "review", "decide", case_id, "legit", "--by", "bob")
    assert decided.exit_code == 0, decided.output
    archive_all(settings, Decision.topic, Label.topic)

    done = run(settings, "feedback", "--once")
    assert done.exit_code == 0, done.output
    assert "fraud-feedback" in done.output

    scored: list[dict[str, object]] = []

    def has_feedback() -> bool:
        paid = payments[-1].transaction
        again = json.loads(encode(paid)) | {"event_id": f"next{len(scored)}", "amount": limit / 2}
        scored.append(client.send("POST", "/fraud/score", json.dumps(again).encode())[1])
        return "feedback" in scored[-1]["scores"]  # type: ignore[operator]

    until(has_feedback)
    scores = scored[-1]["scores"]
    assert isinstance(scores, dict)
    assert scores["feedback"]["score"] > 5 * scores["batch"]["score"]
    assert scored[-1]["degraded"] == []

    def metrics() -> str:
        return ask_over(client.link, "GET", "/metrics").content.decode()

    # What is not told in time is left out of /metrics: a busy machine is asked again.
    for words in (
        'headrace_feedback_gate{gate="calibration",use_case="fraud"} 1.0',
        'headrace_feedback_refused{use_case="fraud"} 0.0',
        'member="feedback"',
    ):
        until(lambda words=words: words in metrics(), words)  # type: ignore[misc]

    again = run(settings, "feedback", "--once")
    assert again.exit_code == 1
    assert "verdicts since" in again.output
