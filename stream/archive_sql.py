"""SQL over the archive for people: read only, each query in a process of its own that ends at its limits.

The tables are the archived topics as they are: each record once, whichever files hold it, with the day as `date`. What
was erased from the archive is in none; of card numbers there are the tokens that events came in with.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any, NamedTuple

import msgspec

from stream.archive import ARCHIVED, Archive, schema_of
from stream.archive_file import ArchiveFile

CHILD = Path(__file__).with_name("archive_sql_child.py")
AT_ONCE = 2
TURN_S = 3.0
ROWS_LIMIT = 10_000
SQL_LIMIT = 20_000
"""Characters of a query: no more than an audit can keep whole of each."""
PART_BYTES = 1 << 16
VIEWS = {topic: topic.replace("-", "_") for topic in ARCHIVED}
LEFT_OUT = ("payload",)
"""The record's bytes: all that is in them is in the other columns."""


class QueryFailed(RuntimeError):
    """The query gave no answer. The words are for whoever wrote it; `line` and `column` count from 1, 0: unknown."""

    def __init__(self, words: str, line: int = 0, column: int = 0) -> None:
        super().__init__(words)
        self.line = line
        self.column = column


class Column(msgspec.Struct, frozen=True):
    """A column of an answer. `type` is Arrow's name of it."""

    name: str
    type: str
    number: bool


class Table(NamedTuple):
    """A table that can be asked, with its columns and types; `files` is how many files hold it now."""

    name: str
    columns: list[tuple[str, str]]
    files: int


class Answer(NamedTuple):
    """Rows as text, None for NULL. `more`: there are more than were asked for, or than a page can bear."""

    columns: list[Column]
    rows: list[list[str | None]]
    more: bool
    took_s: float


class ArchiveSql:
    """Queries over one archive's directory. Any thread may ask; `AT_ONCE` queries run at a time, others wait a little.

    `seconds` and `memory_bytes` bound each query.
    """

    def __init__(self, directory: Path, seconds: float = 10.0, memory_bytes: int = 512 * 1024 * 1024) -> None:
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self._archive = Archive(directory.absolute())
        self._turns = BoundedSemaphore(AT_ONCE)

    def tables(self) -> list[Table]:
        """What can be asked, whether there are records of it or not."""
        found = [
            Table(
                name,
                [(field.name, str(field.type)) for field in schema_of(topic) if field.name not in LEFT_OUT]
                + [("date", "date32[day]")],
                len(self._archive.files(topic)),
            )
            for topic, name in VIEWS.items()
        ]
        newest = ("event_id", "string"), ("label", "string"), ("labelled_at", "timestamp[us, tz=UTC]")
        return [*found, Table("verdicts", [*newest, ("source", "string")], 0)]

    def run(self, sql: str, rows: int = ROWS_LIMIT) -> Answer:
        """The first rows of the answer. Raises `QueryFailed`."""
        began_s = time.monotonic()
        with self._child(sql, rows=min(rows, ROWS_LIMIT), csv=False) as (columns, child):
            lines = child.lines()
            found: list[list[str | None]] = []
            for line in lines:
                said = msgspec.json.decode(line)
                if isinstance(said, list):
                    found.append(said)
                elif "error" in said:
                    raise self._failed(said)
                else:
                    return Answer(columns, found, bool(said["more"]), time.monotonic() - began_s)
            raise child.ended()

    @contextmanager
    def download(self, sql: str) -> Iterator[Iterator[bytes]]:
        """The whole answer as CSV, as it comes. Raises `QueryFailed`, also while it is read: then it is not whole."""
        with self._child(sql, rows=0, csv=True) as (_, child):
            yield child.rest()

    @contextmanager
    def _child(self, sql: str, **asked: Any) -> Iterator[tuple[list[Column], _Child]]:
        if len(sql) > SQL_LIMIT:
            raise QueryFailed(f"the query has {len(sql):,} characters; {SQL_LIMIT:,} are read")
        if not self._turns.acquire(timeout=TURN_S):
            raise QueryFailed(f"{AT_ONCE} queries are running already; try again when one has ended")
        try:
            limits = {"seconds": self.seconds, "memory_bytes": self.memory_bytes}
            task = {"sql": sql, "views": self._views(), **limits, **asked}
            with _Child(json.dumps(task).encode(), self.seconds, self.memory_bytes) as child:
                first = next(child.lines(), None)
                if first is None:
                    raise child.ended()
                said = msgspec.json.decode(first)
                if "error" in said:
                    raise self._failed(said)
                yield msgspec.convert(said["columns"], list[Column]), child
        finally:
            self._turns.release()

    def _views(self) -> list[dict[str, Any]]:
        views = []
        for topic, name in VIEWS.items():
            schema = schema_of(topic)
            for left_out in LEFT_OUT:
                schema = schema.remove(schema.get_field_index(left_out))
            files = [str(file.path) for file in each_once(self._archive.files(topic))]
            views.append({"name": name, "schema": b64encode(schema.serialize().to_pybytes()).decode(), "files": files})
        return views

    def _failed(self, said: dict[str, Any]) -> QueryFailed:
        if said["error"] == "memory":
            return QueryFailed(_memory_words(self.memory_bytes))
        return QueryFailed(said["error"], said.get("line", 0), said.get("column", 0))


class _Child:
    """A child at work, and the time that it has. Leaving the block ends it, whatever it does."""

    def __init__(self, task: bytes, seconds: float, memory_bytes: int) -> None:
        self._until_s = time.monotonic() + seconds
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self._task = task
        self._process: subprocess.Popen[bytes]
        self._is_late = False
        self._rest = b""

    def __enter__(self) -> _Child:
        # Nothing of ours: the environment has passwords.
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", "MALLOC_ARENA_MAX": "2"}
        environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        command = [sys.executable, "-I", str(CHILD)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment, cwd="/")
        try:
            self._in.write(self._task)
            self._in.close()
        except BrokenPipeError:
            pass  # It ended before it had read all; why, it says or its status does.
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def lines(self) -> Iterator[bytes]:
        """Whole lines. Raises `QueryFailed` when its time is over."""
        while True:
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                yield line
                continue
            if not (part := self._read()):
                return
            self._rest += part

    def rest(self) -> Iterator[bytes]:
        """What comes after the lines that were read. Raises `QueryFailed` where it is not whole."""
        if self._rest:
            yield self._rest
        while part := self._read():
            yield part
        if self._process.wait() != 0:
            raise self.ended()

    def ended(self) -> QueryFailed:
        """Why it ended before its answer did."""
        # Where nobody was here in time, it has ended itself: by its own alarm.
        if self._is_late or time.monotonic() >= self._until_s:
            return QueryFailed(f"it was stopped after {self._seconds:g} s; ask for less, such as fewer days: date >= …")
        self._process.kill()
        if self._process.wait() in (-6, -9, -11, 3):
            return QueryFailed(_memory_words(self._memory_bytes))
        return QueryFailed("it ended without an answer; try again")

    def _read(self) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if not selector.select(max(self._until_s - time.monotonic(), 0.0)):
                self._is_late = True
                raise self.ended()
        return os.read(self._out.fileno(), PART_BYTES)


def each_once(files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    """Without the files whose records a larger one has too: while small ones are merged, both are there."""
    kept: list[ArchiveFile] = []
    for file in sorted(files, key=lambda one: (one.day, one.log, one.partition.number, one.first, -one.last)):
        last = kept[-1] if kept else None
        same = last is not None and (last.day, last.log, last.partition) == (file.day, file.log, file.partition)
        if last is None or not same or file.last > last.last:
            kept.append(file)
    return kept


def _memory_words(memory_bytes: int) -> str:
    return f"it needs more than {memory_bytes / 2**20:,.0f} MB of memory; ask for fewer columns, days or groups"
