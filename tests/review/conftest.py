"""Decisions made by the dozen, and stores that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from review.case_store import CaseStore
from stream.records import Decision, Outcome, Reason, Transaction

START = datetime(2026, 1, 1, tzinfo=UTC)


def _decision(
    event_id: str,
    card: str = "card",
    score: float = 0.5,
    amount: float = 100.0,
    hour: float = 0.0,
    outcome: Outcome = "review",
    rules: Sequence[str] = (),
    reason: str = "",
    currency: str = "EUR",
) -> Decision:
    at = START + timedelta(hours=hour)
    return Decision(
        event_id=event_id,
        event_timestamp=at,
        scored_at=at + timedelta(milliseconds=3),
        use_case="fraud",
        outcome=outcome,
        score=score,
        scores={},
        vector=[1.0, None],
        definition_hash="h",
        policy_version="1",
        record=Transaction(
            event_id=event_id,
            event_timestamp=at,
            card_id=card,
            merchant_id="shop",
            device_id="phone",
            amount=amount,
            currency=currency,
        ),
        rules=list(rules),
        reasons=[Reason("amount", reason, amount, 10.0)] if reason else [],
    )


@pytest.fixture
def decision() -> Callable[..., Decision]:
    return _decision


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[CaseStore]:
    with closing(CaseStore(path)) as opened:
        yield opened
