"""What a call makes a database do, whatever the machine: steps or blocks, and which tables it reads from end to end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import msgspec
import psutil
from sqlalchemy import Connection, Engine, event, text

EVERY = 100
"""Steps of SQLite's machine between two looks."""
LARGE = ("cases", "flags", "traits", "terms", "vectors", "outbox", "audit")
PARTIAL = ("outbox_unsent",)
"""Indexes of a few rows of a large table: all of such a one may be read."""
READS = ("SELECT", "WITH")

Statement = tuple[str, Any]


class Work(NamedTuple):
    """`amount` is of steps of SQLite's machine, or of PostgreSQL's blocks. `whole`: tables read from end to end."""

    statements: int
    amount: float
    unit: str
    whole: tuple[str, ...]


class Watch:
    """Over one engine, from before its first connection on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looks = 0
        self._said: list[Statement] = []
        self._spent_s: dict[int, float] = {}
        self.is_sqlite = engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(engine, "connect", self._connected)
        event.listen(engine, "before_cursor_execute", self._executed)
        engine.dispose()

    def work(self, call: Callable[[], object]) -> Work:
        """Of one call."""
        with self._heard() as said:
            looks = self._looks
            call()
            steps = (self._looks - looks) * EVERY
        statements = list(said)
        if self.is_sqlite:
            return Work(len(statements), steps, "steps", tuple(sorted(set(self._scans(statements)))))
        blocks, whole = self._explained(statements)
        return Work(len(statements), blocks, "blocks", whole)

    def cpu_s(self) -> float:
        """Processor time of this process, and of the server's where it is on this machine."""
        own = time.process_time()
        if self.is_sqlite:
            return own
        for pid in self._servers():
            with suppress(psutil.Error):
                spent = psutil.Process(pid).cpu_times()
                self._spent_s[pid] = spent.user + spent.system
        return own + sum(self._spent_s.values())

    def _servers(self) -> list[int]:
        with self._engine.connect() as db:
            found = db.execute(text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()"))
            return [int(pid) for pid in found.scalars()]

    def _connected(self, connection: sqlite3.Connection, _: Any) -> None:
        def look() -> int:
            self._looks += 1
            return 0

        connection.set_progress_handler(look, EVERY)

    def _executed(self, _: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        self._said.append((statement, parameters))

    @contextmanager
    def _heard(self) -> Iterator[list[Statement]]:
        self._said = said = list[Statement]()
        yield said
        self._said = []

    def _reads(self, statements: list[Statement]) -> Iterator[Statement]:
        for statement, parameters in statements:
            if statement.lstrip().startswith(READS) and "advisory" not in statement:
                yield statement, parameters

    def _scans(self, statements: list[Statement]) -> Iterator[str]:
        """As `EXPLAIN QUERY PLAN` has them: an index that is read whole counts too."""
        raw = self._engine.raw_connection()
        try:
            for statement, parameters in {one: (one, asked) for one, asked in self._reads(statements)}.values():
                for row in raw.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):  # type: ignore[union-attr]
                    words = str(row[3]).split()
                    if words[0] == "SCAN" and words[1] in LARGE and words[-1] not in PARTIAL:
                        yield words[1]
        finally:
            raw.close()

    def _explained(self, statements: list[Statement]) -> tuple[int, tuple[str, ...]]:
        blocks, whole = 0, set()
        with self._engine.connect() as db:
            for statement, parameters in self._reads(statements):
                asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                found: Any = db.exec_driver_sql(asked, parameters).scalar_one()
                plan = (found if isinstance(found, list) else msgspec.json.decode(found))[0]["Plan"]
                blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
                whole |= {name for name in _whole(plan) if name in LARGE}
            db.rollback()
        return blocks, tuple(sorted(whole))


def _whole(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"].endswith("Seq Scan"):
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from _whole(part)
