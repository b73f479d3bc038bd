"""The same cases in another database, so that both are asked the same."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import select, text

from bench.review_world import COPIED, tidy
from review.case_store import CaseStore
from review.either import insert_on
from review.waiting_word_tables import WAITING_WORDS

ROWS = 2_000


def copy_into(place: str, other: str) -> None:
    """Copy the cases of a store, and all that is said of them, into one that is empty."""
    with closing(CaseStore(place)) as store, closing(CaseStore(other)) as target:
        # Rules among the words that wait come with the traits already.
        tables = (*COPIED, WAITING_WORDS)
        indexes = [index for table in tables for index in table.indexes]
        with store.database.reading() as source, target.database.writing() as db:
            # Made anew at the end: they are sorted once, instead of being added to in no order.
            for index in indexes:
                index.drop(db)
            for table in tables:
                rows = source.execute(select(table).execution_options(yield_per=ROWS)).mappings()
                for some in rows.partitions(ROWS):
                    db.execute(insert_on(db, table).on_conflict_do_nothing(), [dict(row) for row in some])
                if not target.database.is_sqlite and "number" in table.c:
                    newest = f"(SELECT max(number) FROM {table.name})"
                    db.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'number'), {newest})"))
            for index in indexes:
                index.create(db)
        tidy(target)
