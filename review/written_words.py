"""What people wrote in words of their own, wherever it is kept: a value in it that is forgotten becomes another word.

Audits too, though they only grow otherwise: an entity's right to be forgotten goes before. Rows stay, with who and
when; of the text the value alone is gone, and the word in its place says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Table, and_, select, update

from review.alert_tables import HISTORY, SILENCES
from review.case_filter import QueueFilter
from review.sql_tables import QUERIES, RUNS
from review.tables import EVIDENCE, NOTES, VIEWS, append_only
from review.widget_tables import KEYS

Without = Callable[[str], str]
"""A text without the value, with another word for it; the same text where it is not there."""

FETCHED = 1000
WRITTEN: tuple[tuple[Table, tuple[str, ...]], ...] = (
    (NOTES, ("text",)),
    (EVIDENCE, ("url", "title")),
    (VIEWS, ("name", "filter")),
    (QUERIES, ("name", "text")),
    (RUNS, ("text",)),
    (SILENCES, ("why",)),
    (HISTORY, ("text",)),
    (KEYS, ("name",)),
)
ONLY_GROW = frozenset({RUNS.name, HISTORY.name})


class Rewritten(NamedTuple):
    """A row, and the columns of it that say something else now."""

    table: Table
    key: dict[str, Any]
    new: dict[str, Any]


def search_words(db: Connection, without: Without) -> list[Rewritten]:
    """The rows in whose words the value is, with what they are to say."""
    return [one for table, names in WRITTEN for one in _search(db, table, names, without)]


def rewrite_words(db: Connection, without: Without) -> int:
    """Have them say it; how many rows."""
    found = search_words(db, without)
    for table, _ in WRITTEN:
        own = [one for one in found if one.table is table]
        if not own:
            continue
        with _may_change(db, table):
            for one in own:
                of = and_(*(table.c[name] == value for name, value in one.key.items()))
                db.execute(update(table).where(of).values(one.new))
    return len(found)


def _search(db: Connection, table: Table, names: tuple[str, ...], without: Without) -> Iterator[Rewritten]:
    keys = [column.name for column in table.primary_key]
    columns = [table.c[name] for name in dict.fromkeys((*keys, *names))]
    for row in db.execute(select(*columns).execution_options(yield_per=FETCHED)).mappings():
        new = {name: changed for name in names if (changed := _changed(row[name], without)) != row[name]}
        if new:
            yield Rewritten(table, {name: row[name] for name in keys}, new)


def _changed(said: Any, without: Without) -> Any:
    if isinstance(said, str):
        return without(said)
    wanted = msgspec.json.decode(said, type=QueueFilter)
    text = without(wanted.text)
    return said if text == wanted.text else msgspec.json.encode(msgspec.structs.replace(wanted, text=text))


@contextmanager
def _may_change(db: Connection, table: Table) -> Iterator[None]:
    """Let the rows of a table that only grows be changed within this transaction, by nobody else."""
    if table.name not in ONLY_GROW:
        yield
        return
    if db.dialect.name == "sqlite":
        (again,) = (one for one in append_only(table.name)["sqlite"] if "_keeps_its_words" in one)
        db.exec_driver_sql(f"DROP TRIGGER {table.name}_keeps_its_words")
        yield
        db.exec_driver_sql(again)
        return
    db.exec_driver_sql(f"ALTER TABLE {table.name} DISABLE TRIGGER {table.name}_keeps_its_rows")
    yield
    db.exec_driver_sql(f"ALTER TABLE {table.name} ENABLE TRIGGER {table.name}_keeps_its_rows")
