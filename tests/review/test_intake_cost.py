"""What taking in flags costs: the same however many cases wait, in steps of the database and not in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event

from review.case_store import CaseStore
from stream.records import Decision
from tests.review.cases import PLACE, Make
from tests.review.quick_stores import ON_BOTH, new_store_at
from tests.review.test_queue_plans import heard

FEW, MANY = 40, 640
BATCH = 20
GROWTH = 1.25
"""Trees of more rows are a little higher."""


@contextmanager
def stepped(store: CaseStore) -> Iterator[list[int]]:
    """Every tenth step of SQLite's machine."""
    steps: list[int] = []

    def look() -> int:
        steps.append(10)
        return 0

    def watch(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_progress_handler(look, 10)

    event.listen(store.database.engine, "connect", watch)
    store.database.engine.dispose()
    try:
        yield steps
    finally:
        event.remove(store.database.engine, "connect", watch)
        store.database.engine.dispose()


def batch(decision: Make, name: str, amount: float = 1000.0) -> list[Decision]:
    """Flags of which every other one joins a case of before, as its gravest if there was none of this amount."""
    cards = [f"card-{n}" if n % 2 else f"{name}-{n}" for n in range(BATCH)]
    return [decision(f"{name}-e{n}", card, amount=amount, rules=["night"] * (n % 2)) for n, card in enumerate(cards)]


def waiting(decision: Make, first: int, end: int) -> list[Decision]:
    return [decision(f"old-{n}", f"card-{n}", amount=float(n)) for n in range(first, end)]


def test_the_steps_of_a_flag_do_not_grow_with_the_queue(path: Path, decision: Make) -> None:
    new_store_at(path)
    spent = []
    with closing(CaseStore(path)) as store:
        for first, end in ((0, FEW), (FEW, MANY)):
            store.take_in(waiting(decision, first, end), {})
            assert store.open_count() >= end
            with stepped(store) as steps:
                store.take_in(batch(decision, f"new{end}"), {})
                assert store.take_in(batch(decision, f"new{end}"), {}).repeated == BATCH
            spent.append(sum(steps))
    few, many = spent
    assert many < few * GROWTH


@ON_BOTH
def test_a_batch_is_as_many_statements_however_long_it_and_the_queue_are(one_place: str, decision: Make) -> None:
    new_store_at(one_place)
    with closing(CaseStore(one_place)) as store:
        store.take_in(waiting(decision, 0, FEW), {})
        few = statements(store, batch(decision, "new")[:4])
        store.take_in(waiting(decision, FEW, MANY), {})
        assert statements(store, batch(decision, "newer", 2000.0)) == few


def statements(store: CaseStore, decisions: Sequence[Decision]) -> int:
    with heard(store) as said:
        assert store.take_in(decisions, {("log", PLACE): 1}).joined == len(decisions) // 2
    return len(said)
