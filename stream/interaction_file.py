"""A file of interactions as actions, and a file of items as items: CSV or Parquet, columns named or guessed.

Every row has a visitor (a user, or a session alone, such as an order of somebody unknown), an item and a time; an
action's name and a value where the file has them. Rows come in the order of time and, of one time, of the file. The id
of a row's event follows from what is in it: a file that is read twice, or a row that stands in it twice, is the same
event.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import duckdb

from stream.invalid_record import InvalidRecord
from stream.records import Action, Item, convert, from_micros
from stream.table import Table, quoted

BATCH_ROWS = 10_000
MEMORY = "1GB"
"""What sorting a file may take; the rest goes to disk."""
RATING, VIEW = "rating", "view"
"""The action where nothing says it: with a value, and without."""
UNITS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
"""Numbers as times since 1970: from this size on they are nanoseconds, microseconds, milliseconds, seconds."""
NAMES = {
    "user": ("userid", "user", "visitorid", "visitor", "customerid", "customer", "memberid", "uid", "reviewerid"),
    "session": ("sessionid", "session", "visitid", "basketid", "basket", "orderid", "invoiceno", "invoice"),
    "item": ("itemid", "item", "productid", "movieid", "articleid", "stockcode", "sku", "asin", "product"),
    "time": (
        "eventtimestamp",
        "timestamp",
        "time",
        "eventtime",
        "createdat",
        "datetime",
        "invoicedate",
        "orderdate",
        "date",
        "ts",
    ),
    "action": ("action", "event", "eventtype", "eventname", "kind", "behavior", "behaviour", "interaction"),
    "value": ("value", "rating", "score", "stars"),
    "title": ("title", "movietitle", "name", "itemname", "productname", "description"),
    "category": ("category", "categoryid", "categorycode", "class", "genre", "genres", "department"),
    "tags": ("tags", "keywords"),
    "price": ("price", "unitprice"),
}
"""What columns are called, without case and what stands between words: `user_id`, `UserID` and `user id` are one."""
OF_ACTIONS = ("user", "session", "item", "time", "action", "value")
OF_ITEMS = ("item", "title", "category", "tags", "price")
Kind = TypeVar("Kind", Action, Item)

_log = logging.getLogger(__name__)


class FileError(ValueError):
    """The file cannot be used as it is: which, what is wrong with it, and the remedy. A retry cannot help."""


class Incomplete(FileError):
    """A row that has no visitor, no item or no time, `lacks`."""

    def __init__(self, path: Path, number: int, lacks: str, remedy: str) -> None:
        self.lacks = lacks
        super().__init__(f"row {number} of {path.name} has no {lacks}; {remedy}, or leave such rows out (--skip)")


class Columns(NamedTuple):
    """Which column is what; empty ones are guessed.

    `kind` is no column but the action of every row, where none says it. With `skip` rows that have no visitor, no item
    or no time are left out, and their number is logged; else they are refused.
    """

    user: str = ""
    session: str = ""
    item: str = ""
    time: str = ""
    action: str = ""
    value: str = ""
    kind: str = ""
    skip: bool = False


def read_actions(path: Path, columns: Columns | None = None) -> Iterator[Action]:
    """The rows of a file as actions, by time. Raises `FileError`, `FileNotFoundError` and `UnreadableTable`."""
    table = Table(path)
    columns = columns or Columns()
    found = chosen(table, OF_ACTIONS, columns._asdict())
    for part in ("item", "time", *(() if "session" in found else ("user",))):
        if part not in found:
            raise FileError(
                f"no column of {path.name} is the {part}; it has {', '.join(table.columns)}: name one with --{part}"
            )
    kind = columns.kind or (RATING if "value" in found else VIEW)
    left_out = Counter[str]()
    with closing(_rows(table, found)) as rows:
        for number, at_us, user, session, item, action, value in rows:
            try:
                record = _action(path, number, at_us, user, session, item, action or kind, value)
            except Incomplete as error:
                if not columns.skip:
                    raise
                left_out[error.lacks] += 1
            else:
                yield record
    for lacks, count in left_out.items():
        _log.warning("%s: %s rows that have no %s were left out", path.name, f"{count:,}", lacks)


def read_items(path: Path, at: datetime, columns: dict[str, str] | None = None) -> Iterator[Item]:
    """The rows of a catalogue as items, as known from `at` on. Raises as `read_actions` does."""
    table = Table(path)
    found = chosen(table, OF_ITEMS, columns or {})
    if "item" not in found:
        raise FileError(f"no column of {path.name} is the item; it has {', '.join(table.columns)}: call one item_id")
    # RecBole writes a list with spaces, others with bars: the first is the category, all are tags.
    between = " " if found.get("category", "").endswith(":token_seq") else "|"
    selected = [f"CAST({quoted(found[part])} AS VARCHAR)" if part in found else "NULL" for part in OF_ITEMS]
    sql = f"SELECT _file_row, {', '.join(selected)} FROM ({table.select_numbered()}) ORDER BY _file_row"
    with closing(_fetched(sql)) as rows:
        for number, item, title, category, tags, price in rows:
            kinds = [kind for kind in (category or "").split(between) if kind]
            words = [*(kinds if len(kinds) > 1 else ()), *_words(tags)]
            yield _item(path, number, at, item, title, kinds[0] if kinds else None, words, price)


def chosen(table: Table, parts: tuple[str, ...], named: dict[str, str]) -> dict[str, str]:
    """The column of each part that has one: the named one, or the first that is called as such columns are."""
    plain = {_plain(name): name for name in reversed(table.columns)}
    found: dict[str, str] = {}
    for part in parts:
        if name := named.get(part):
            if name not in table.columns and _plain(name) not in plain:
                raise FileError(f"{table.path.name} has no column {name!r}; it has {', '.join(table.columns)}")
            found[part] = name if name in table.columns else plain[_plain(name)]
        elif guess := next((plain[known] for known in NAMES[part] if known in plain), None):
            found[part] = guess
    return found


def _rows(table: Table, found: dict[str, str]) -> Generator[tuple[Any, ...]]:
    source = f"({table.select_numbered()})"
    parts = {part: quoted(found[part]) if part in found else "NULL" for part in OF_ACTIONS}
    time = _time(table, source, found["time"])
    words = (f"CAST({parts[part]} AS VARCHAR)" for part in ("user", "session", "item", "action", "value"))
    sql = f"SELECT _file_row, {time} AS at_us, {', '.join(words)} FROM {source} ORDER BY at_us NULLS FIRST, _file_row"
    yield from _fetched(sql)


def _time(table: Table, source: str, column: str) -> str:
    name = quoted(column)
    kind = table.columns[column]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_us(CAST({name} AS TIMESTAMPTZ))"
    number = f"TRY_CAST({name} AS DOUBLE)"
    with closing(_fetched(f"SELECT max(abs({number})), count({number}), count({name}) FROM {source}")) as rows:
        largest, numbers, cells = next(rows)
    if numbers and 2 * numbers >= cells:
        factor = next(factor for least, factor in UNITS if largest >= least)
        # Whole numbers stay exact: a float has 53 bits, a time in nanoseconds 61.
        whole = f"TRY_CAST({name} AS HUGEINT)"
        exact = f"{whole} * {int(factor)}" if factor >= 1.0 else f"{whole} // 1000"
        return f"CAST(CASE WHEN {whole} = {number} THEN {exact} ELSE round({number} * {factor!r}) END AS BIGINT)"
    return f"epoch_us(TRY_CAST({name} AS TIMESTAMPTZ))"


def _fetched(sql: str) -> Generator[tuple[Any, ...]]:
    with TemporaryDirectory(prefix="headrace-") as spill:
        limits: dict[str, str | bool | int | float | list[str]] = {"memory_limit": MEMORY, "temp_directory": spill}
        with duckdb.connect(":memory:", config=limits) as database:
            try:
                database.execute("SET TimeZone = 'UTC'; SET threads = 2")
                rows = database.execute(sql)
                while batch := rows.fetchmany(BATCH_ROWS):
                    yield from batch
            except duckdb.Error as error:
                raise FileError(f"the file cannot be read: {str(error).splitlines()[0]}") from None


def _action(
    path: Path, number: int, at_us: int | None, user: str | None, session: str | None, item: str | None,
    kind: str, value: str | None,
) -> Action:  # fmt: skip
    if at_us is None:
        raise Incomplete(path, number, "readable time", "give 2026-01-31T12:00:00Z, or seconds since 1970")
    if not (user or session):
        raise Incomplete(path, number, "user", "name the column of its session or order with --session")
    if not item:
        raise Incomplete(path, number, "item", "take it out of the file")
    # A session does not make another event of what a user did: only where it stands for one.
    visitor = user or f"session {session}"
    fields: dict[str, Any] = {
        "type": "action",
        "event_id": _event_id(visitor, item, kind, value, str(at_us)),
        "event_timestamp": _moment(path, number, at_us),
        "item_id": item,
        "action": kind,
    }
    if user:
        fields["user_id"] = user
    if session:
        fields["session_id"] = session
    if value not in (None, ""):
        fields["value"] = _number(path, number, "value", value)
    return _record(path, number, fields, Action)


def _item(
    path: Path, number: int, at: datetime, item: str | None, title: str | None, category: str | None, tags: list[str],
    price: str | None,
) -> Item:  # fmt: skip
    fields: dict[str, Any] = {
        "type": "item",
        "event_id": _event_id(item, title, category, *tags, price, at.isoformat()),
        "event_timestamp": at.astimezone(UTC),
        "item_id": item or "",
        "title": title or None,
        "category": category or None,
        "tags": tags,
    }
    if price not in (None, ""):
        fields["price"] = _number(path, number, "price", price)
    return _record(path, number, fields, Item)


def _record(path: Path, number: int, fields: dict[str, Any], kind: type[Kind]) -> Kind:
    try:
        return convert(fields, kind)
    except InvalidRecord as error:
        raise FileError(f"row {number} of {path.name}: {error}") from None


def _event_id(*said: str | None) -> str:
    text = "\x1f".join(one or "" for one in said)
    return f"file-{blake2b(text.encode(), digest_size=12).hexdigest()}"


def _words(tags: str | None) -> list[str]:
    return [word.strip() for word in (tags or "").replace("|", ",").split(",") if word.strip()]


def _number(path: Path, number: int, part: str, cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        raise FileError(f"row {number} of {path.name} has the {part} {cell!r}, which is no number") from None


def _moment(path: Path, number: int, at_us: int) -> datetime:
    try:
        return from_micros(at_us)
    except OverflowError:
        raise FileError(f"row {number} of {path.name} has a time beyond the year 9999; see its unit") from None


def _plain(name: str) -> str:
    """A column's name in small letters and digits alone, without the type that RecBole's files put behind it."""
    name = name.partition(":")[0].lower()
    return "".join(letter for letter in name if letter.isalnum())
