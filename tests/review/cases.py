"""What tests of cases have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from review.case import Case
from review.case_store import CaseStore
from stream.log import Partition
from stream.records import Decision

Make = Callable[..., Decision]
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLACE = Partition("decisions", 3)


class Crash(RuntimeError):
    """The process ends here."""


def only(store: CaseStore) -> Case:
    (case,) = store.queue()
    return case
