"""Decisions made by the dozen, and stores that are closed again, on both databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from sqlalchemy import text

from review.case_store import CaseStore
from review.engine import open_engine
from review.schema import bring_up_to_date
from review.tables import METADATA
from stream.records import Decision, MemberScore, Outcome, Reason, Transaction
from tests.postgres_server import PostgresServer, postgres_programs
from tests.review.account_desks import LOOP
from tests.review.quick_stores import new_store_at, statements_compiled_once

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
    vector: Sequence[float | None] = (1.0, None),
    definition_hash: str = "h",
    scores: dict[str, MemberScore] | None = None,
    **record: Any,
) -> Decision:
    at = START + timedelta(hours=hour)
    return Decision(
        event_id=event_id,
        event_timestamp=at,
        scored_at=at + timedelta(milliseconds=3),
        use_case="fraud",
        outcome=outcome,
        score=score,
        scores=scores or {},
        vector=list(vector),
        definition_hash=definition_hash,
        policy_version="1",
        record=Transaction(
            event_id=event_id,
            event_timestamp=at,
            card_id=card,
            amount=amount,
            currency=currency,
            **({"merchant_id": "shop", "device_id": "phone"} | record),
        ),
        rules=list(rules),
        reasons=[Reason("amount", reason, amount, 10.0)] if reason else [],
    )


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    with statements_compiled_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def one_loop() -> Iterator[None]:
    with start_blocking_portal() as LOOP["portal"]:
        yield
    LOOP.clear()


@pytest.fixture
def decision() -> Callable[..., Decision]:
    return _decision


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review.sqlite"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL. Skips where none can be had, unless HEADRACE_REQUIRE_POSTGRES=1 demands it."""
    programs = postgres_programs()
    if programs is None:
        if os.environ.get("HEADRACE_REQUIRE_POSTGRES") == "1":
            raise RuntimeError("HEADRACE_REQUIRE_POSTGRES is set, and there is no initdb")
        pytest.skip("no PostgreSQL server is installed")
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_cases(postgres: PostgresServer) -> str:
    """The URL of a database with the store's tables, with whatever earlier tests left there."""
    postgres.run("CREATE DATABASE cases")
    engine = open_engine(postgres.url("cases"))
    bring_up_to_date(engine)
    engine.dispose()
    return postgres.url("cases")


@pytest.fixture
def postgres_url(postgres_cases: str) -> str:
    """The URL of a database whose tables are empty when the test begins."""
    engine = open_engine(postgres_cases)
    with engine.begin() as db:
        db.execute(text("SET LOCAL session_replication_role = replica"))  # The audit's triggers would refuse.
        # Not TRUNCATE, which makes the files of all tables and indexes anew.
        counters = db.execute(text("SELECT sequencename FROM pg_sequences")).scalars()
        rows = [f"DELETE FROM {name}" for name in METADATA.tables]
        db.execute(text("; ".join([*rows, *(f"ALTER SEQUENCE {name} RESTART" for name in counters)])))
    engine.dispose()
    return postgres_cases


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> str:
    """Where a store keeps its cases: an empty one, on either database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    path: Path = request.getfixturevalue("path")
    new_store_at(path)
    return str(path)


@pytest.fixture
def one_place(request: pytest.FixtureRequest, path: Path) -> str:
    """A file without a store; in tests that are `ON_BOTH` also a database whose tables are empty."""
    return str(request.getfixturevalue("postgres_url") if getattr(request, "param", "") == "postgresql" else path)


@pytest.fixture
def store(place: str) -> Iterator[CaseStore]:
    with closing(CaseStore(place)) as opened:
        yield opened
