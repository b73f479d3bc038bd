"""What tests of cases have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

from sqlalchemy import event

from review.case import Case
from review.case_store import CaseStore
from stream.log import Partition
from stream.records import Decision

Make = Callable[..., Decision]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
PLACE = Partition("decisions", 3)


class Crash(RuntimeError):
    """The process ends here."""


@contextmanager
def crashing_at(store: CaseStore, nth: int) -> Iterator[None]:
    """The process ends before its nth statement."""
    statements = count(1)

    def crash(*_: object) -> None:
        if next(statements) == nth:
            raise Crash

    event.listen(store.database.engine, "before_cursor_execute", crash)
    try:
        yield
    finally:
        event.remove(store.database.engine, "before_cursor_execute", crash)


def only(store: CaseStore) -> Case:
    (case,) = store.queue()
    return case
