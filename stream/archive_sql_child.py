"""One query over archived records, in a process of its own that can do nothing else. `stream.archive_sql` runs it.

It is run by its path with `python -I`, so it imports nothing of the project. It reads one JSON object from its input,
and writes a line of JSON: the columns, or what is wrong; then rows as lines of JSON, or CSV. What holds it:

1. Of the system: no file can be written (`RLIMIT_FSIZE` is 0), memory and time end it, its environment is empty.
2. DuckDB opens no file and loads nothing: records come to it from PyArrow, which is given the archive's files by name.
   `enable_external_access` is off and the configuration is locked before the query is looked at.
3. One statement that reads: SELECT (WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE) or EXPLAIN of one.

Each would do alone; a hole in one of them lies before the next.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import signal
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from importlib.abc import MetaPathFinder
from typing import Any


class _NoPandas(MetaPathFinder):
    """PyArrow would load it, which takes longer than all else."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


if __name__ == "__main__":
    sys.meta_path.insert(0, _NoPandas())

import duckdb  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402

BATCH_ROWS = 1000
CELL_CHARACTERS = 2000
BYTES_SHOWN = 4_000_000
ROOM_BYTES = 768 * 1024 * 1024
"""Address space beside DuckDB's own limit: stacks of threads, and what PyArrow reads before DuckDB takes it."""
EXPLAINED = "EXPLAIN "
READS = "only a statement that reads is run: SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE, or EXPLAIN of one"
_EXPLAIN = re.compile(r"^(\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(analyze\b|\([^)]*\))?", re.IGNORECASE | re.DOTALL)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Refused(ValueError):
    """The statement is not run."""


def main() -> None:
    """Read what to do, do it, say what came of it."""
    asked = json.loads(sys.stdin.buffer.read())
    _bound(asked["seconds"])
    database = _opened(asked["views"], asked["memory_bytes"])
    _bound_memory(asked["memory_bytes"])
    output = sys.stdout.buffer
    try:
        is_plan = _check(database, asked["sql"])
        # A relation comes as it is read; what `execute` gives is all in memory first, which a plan may be.
        found: Any = database.execute(asked["sql"]) if is_plan else _relation(database, asked["sql"])
        reader = found.to_arrow_reader(BATCH_ROWS)
        batches = _first_read(reader)
    except (duckdb.Error, pa.ArrowException, Refused, MemoryError, OSError) as error:
        output.write(_line(_wrong(error, asked["sql"])))
        return
    output.write(_line({"columns": [_column(field) for field in reader.schema]}))
    try:
        if asked["csv"]:
            _write_csv(output, reader.schema, batches)
        else:
            _write_rows(output, batches, asked["rows"])
    except (duckdb.Error, pa.ArrowException, MemoryError, OSError) as error:
        if asked["csv"]:
            os._exit(3)
        output.write(_line(_wrong(error, asked["sql"])))


def _bound(seconds: float) -> None:
    os.chdir("/")
    for limit, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(seconds * 4) + 2),
    ):
        resource.setrlimit(limit, (most, most))
    # Whoever asked kills it at the limit; where that process is gone, this does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + 2.0)


def _bound_memory(memory_bytes: int) -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        now_bytes = int(file.read().split()[0]) * resource.getpagesize()
    most = now_bytes + memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _opened(views: list[dict[str, Any]], memory_bytes: int) -> duckdb.DuckDBPyConnection:
    pa.set_cpu_count(2)
    pa.set_io_thread_count(2)
    database = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory_bytes}B",
            "threads": 2,
            "temp_directory": "",
            "allow_community_extensions": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Else a name in the query could be that of a variable here.
            "python_enable_replacements": False,
        },
    )
    database.execute("SET TimeZone = 'UTC'")
    day = ds.HivePartitioning(pa.schema([("date", pa.date32())]))
    for view in views:
        schema = pa.ipc.read_schema(pa.py_buffer(b64decode(view["schema"])))
        schema = schema.append(pa.field("date", pa.date32()))
        found: Any = schema.empty_table()
        if view["files"]:
            found = ds.dataset(view["files"], schema=schema, format="parquet", partitioning=day)
        database.register(view["name"], found)
    for name, query in _VIEWS.items():
        database.execute(f"CREATE VIEW {name} AS {query}")
    database.execute("SET errors_as_json = true")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


_VIEWS = {
    "verdicts": "SELECT event_id, arg_max(label, labelled_at) AS label, max(labelled_at) AS labelled_at, "
    "arg_max(source, labelled_at) AS source FROM labels GROUP BY event_id",
}
"""The newest label of each event."""


def _check(database: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether it asks for a plan. Raises `Refused` for what does not only read, and DuckDB's error of syntax."""
    found = database.extract_statements(sql)
    if len(found) != 1:
        raise Refused("there is nothing to run" if not found else f"one statement at a time; this is {len(found)}")
    kind = found[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        inner = _EXPLAIN.sub("", sql, count=1)
        if inner != sql:
            _check(database, inner)
            return True
    if kind == duckdb.StatementType.MULTI:
        raise Refused("this becomes several statements; of a PIVOT name the values: ON column IN (…)")
    if kind != duckdb.StatementType.SELECT:
        raise Refused(f"{READS}; this is {str(kind).rpartition('.')[2]}")
    return False


def _relation(database: duckdb.DuckDBPyConnection, sql: str) -> Any:
    try:
        return database.sql(sql)
    except (duckdb.BinderException, duckdb.CatalogException):
        # These do not say where. Asked for its plan, the same fails in the same way and does.
        database.execute(EXPLAINED + sql)
        raise


def _first_read(reader: Any) -> Iterator[Any]:
    """The batches; the first is read now, so that what fails at once fails before the columns are said."""
    first = next(reader, None)

    def batches() -> Iterator[Any]:
        if first is not None:
            yield first
            yield from reader

    return batches()


def _write_rows(output: Any, batches: Iterator[Any], limit: int) -> None:
    rows = size = 0
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if rows >= limit or size >= BYTES_SHOWN:
                output.write(_line({"rows": rows, "more": True}))
                return
            line = _line([_shown(cell) for cell in row])
            output.write(line)
            rows, size = rows + 1, size + len(line)
    output.write(_line({"rows": rows, "more": False}))


def _write_csv(output: Any, schema: Any, batches: Iterator[Any]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_unformulated(name) for name in schema.names])
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            writer.writerow([_unformulated(cell) if isinstance(cell, str) else _text(cell) for cell in row])
        output.write(text.getvalue().encode("utf-8", "replace"))
        text.seek(0)
        text.truncate()
    output.write(text.getvalue().encode("utf-8", "replace"))
    output.flush()


def _unformulated(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: what senders write must stay text."""
    return "'" + text if text.startswith(_FORMULA) else text


def _shown(cell: Any) -> str | None:
    text = _text(cell)
    if text is None or len(text) <= CELL_CHARACTERS:
        return text
    return text[:CELL_CHARACTERS] + "…"


def _text(cell: Any) -> str | None:
    match cell:
        case None:
            return None
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case datetime():
            return cell.replace(tzinfo=None).isoformat(sep=" ")
        case date() | time() | int() | float() | Decimal():
            return str(cell)
        case bytes():
            return cell.hex()
        case _:
            return json.dumps(_plain(cell), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list) and value and all(isinstance(one, tuple) and len(one) == 2 for one in value):
        return {str(name): _plain(one) for name, one in value}  # A map, as PyArrow gives it.
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else _text(value)


def _column(field: Any) -> dict[str, Any]:
    kind = field.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return {"name": field.name, "type": str(kind), "number": is_number}


def _wrong(error: BaseException, sql: str) -> dict[str, Any]:
    """What is wrong, in words, and where: the line and column of the first character, from 1."""
    text = str(error)
    if isinstance(error, MemoryError | pa.ArrowMemoryError) or "bad_alloc" in text or "Out of Memory" in text:
        return {"error": "memory"}
    kind, found, rest = text.partition(': {"exception_type"')
    if not found:
        return {"error": text[:4000]}
    try:
        said = json.loads('{"exception_type"' + rest)
    except ValueError:
        return {"error": text[:4000]}
    if said.get("exception_type") == "Out of Memory":
        return {"error": "memory"}
    told: dict[str, Any] = {"error": f"{kind}: {said.get('exception_message', '')}"[:4000]}
    position = str(said.get("position", ""))
    if position.isdigit():
        asked_again = isinstance(error, duckdb.BinderException | duckdb.CatalogException) and not _EXPLAIN.match(sql)
        said_of = EXPLAINED if asked_again else ""
        before = sql.encode("utf-8", "replace")[: max(int(position) - len(said_of), 0)].decode("utf-8", "ignore")
        told |= {"line": before.count("\n") + 1, "column": len(before) - before.rfind("\n")}
    return told


def _line(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


if __name__ == "__main__":
    main()
