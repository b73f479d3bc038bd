"""The same cases in another database, so that both are asked the same."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import insert, select, text

from bench.review_world import COPIED, tidy
from review.case_store import CaseStore

ROWS = 2_000


def copy_into(place: str, other: str) -> None:
    """Copy the cases of a store, and all that is said of them, into one that is empty."""
    with closing(CaseStore(place)) as store, closing(CaseStore(other)) as target:
        indexes = [index for table in COPIED for index in table.indexes]
        with store.database.reading() as source, target.database.writing() as db:
            # Made anew at the end: they are sorted once, instead of being added to in no order.
            for index in indexes:
                index.drop(db)
            for table in COPIED:
                rows = source.execute(select(table).execution_options(yield_per=ROWS)).mappings()
                for some in rows.partitions(ROWS):
                    db.execute(insert(table), [dict(row) for row in some])
                if not target.database.is_sqlite and "number" in table.c:
                    newest = f"(SELECT max(number) FROM {table.name})"
                    db.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'number'), {newest})"))
            for index in indexes:
                index.create(db)
        tidy(target)
