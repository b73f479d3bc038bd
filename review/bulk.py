"""The same done to many cases at once, in one transaction: what is refused is named and stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection, select

from review.case_rows import CaseRows
from review.engine import CasesUnavailable, is_deadlock
from review.refusals import Refused, UnknownCase
from review.tables import CASES

BULK_LIMIT = 1000
ATTEMPTS = 5


class Bulk(msgspec.Struct, frozen=True):
    """Which cases it was done to, and of the others why not."""

    done: tuple[str, ...]
    refused: dict[str, str]


class Bulks(CaseRows):
    """Deeds on many cases."""

    def _many(self, case_ids: Sequence[str], act: Callable[[Connection, str], object]) -> Bulk:
        if len(case_ids) > BULK_LIMIT:
            raise ValueError(f"{len(case_ids)} cases are too many at once; choose at most {BULK_LIMIT}")
        for attempt in range(ATTEMPTS):
            try:
                return self._in_one_go(case_ids, act)
            except CasesUnavailable as error:
                if attempt + 1 == ATTEMPTS or not is_deadlock(error):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _in_one_go(self, case_ids: Sequence[str], act: Callable[[Connection, str], object]) -> Bulk:
        refused: dict[str, str] = {}
        done = []
        with self.database.writing() as db:
            # In the order in which others lock several: so they wait for each other instead of both for both.
            numbers = select(CASES.c.case_id).where(CASES.c.case_id.in_(case_ids)).order_by(CASES.c.number)
            known = list(db.execute(numbers.with_for_update()).scalars())
            for case_id in [*known, *sorted(set(case_ids) - set(known))]:
                # Whatever refuses a case does so before it writes anything.
                try:
                    act(db, case_id)
                except (Refused, UnknownCase) as error:
                    refused[case_id] = str(error)
                else:
                    done.append(case_id)
        return Bulk(tuple(done), refused)
