"""What the watcher keeps, in one SQLite file: decisions in numbers, what others would have decided, labels, offsets.

Nothing here decides anything. No record and no entity is kept: an event id, a hash that tells entities apart, numbers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from stream.log import Partition
from stream.sqlite_file import BUSY_TIMEOUT_S, scrub, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    arrival INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, event_time_us INTEGER NOT NULL,
    scored_at_us INTEGER NOT NULL, entity INTEGER NOT NULL, version TEXT NOT NULL, answered INTEGER NOT NULL,
    alert INTEGER NOT NULL, latency_us INTEGER NOT NULL, score REAL NOT NULL, outcome TEXT NOT NULL,
    expected_cost REAL NOT NULL, cost_fraud REAL NOT NULL, cost_legit REAL NOT NULL,
    is_fraud INTEGER, labelled_at_us INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS decisions_by_version ON decisions (version, scored_at_us);
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (event_time_us);
CREATE TABLE IF NOT EXISTS opinions (
    arrival INTEGER NOT NULL REFERENCES decisions ON DELETE CASCADE, version TEXT NOT NULL, said REAL NOT NULL,
    score REAL NOT NULL, outcome TEXT NOT NULL, expected_cost REAL NOT NULL, cost_fraud REAL NOT NULL,
    cost_legit REAL NOT NULL, PRIMARY KEY (arrival, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS early (
    event_id TEXT NOT NULL, is_fraud INTEGER NOT NULL, labelled_at_us INTEGER NOT NULL, arrival INTEGER NOT NULL,
    PRIMARY KEY (event_id, labelled_at_us, is_fraud)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (
    version TEXT NOT NULL, why TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (version, why)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS promotions (
    version TEXT NOT NULL, at_us INTEGER NOT NULL, before BLOB NOT NULL, PRIMARY KEY (version, at_us)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (
    log TEXT NOT NULL, topic TEXT NOT NULL, number INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (log, topic, number)
) STRICT;
CREATE TABLE IF NOT EXISTS arrivals (id INTEGER PRIMARY KEY CHECK (id = 1), decisions INTEGER NOT NULL,
    labels INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO arrivals VALUES (1, 0, 0);
"""


class Judgement(NamedTuple):
    """What the policy makes of one score: the outcome, what it was expected to cost, and does where it is known."""

    score: float
    outcome: str
    expected_cost: float
    cost_fraud: float
    cost_legit: float


class Served(NamedTuple):
    """A decision in numbers. `version` is whose batch model was asked, `is_answered` whether that gave a number."""

    event_id: str
    event_time_us: int
    scored_at_us: int
    entity: int
    version: str
    is_answered: bool
    is_alert: bool
    latency_us: int
    judged: Judgement


class Opinion(NamedTuple):
    """What another version said of an event, and what would have come of it."""

    version: str
    said: float
    judged: Judgement


class WatchStore:
    """One SQLite file. Use it from one thread at a time; `":memory:"` keeps nothing. Other processes may read it."""

    def __init__(self, path: Path | str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")  # what a crash of the machine loses is read from the log again
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.executescript(_SCHEMA)

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing. Raises `sqlite3.OperationalError` when the disk is full or the file locked."""
        return transaction(self.db)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def add(self, served: Served, opinions: Iterable[Opinion]) -> bool:
        """Keep a decision and what others said of it; False (and nothing changed) if this event's is there already."""
        *numbers, judged = served
        marks = ", ".join("?" * (len(numbers) + len(judged)))
        columns = (
            "event_id, event_time_us, scored_at_us, entity, version, answered, alert, latency_us,"
            " score, outcome, expected_cost, cost_fraud, cost_legit, arrival"
        )
        put = f"INSERT OR IGNORE INTO decisions ({columns})"
        arrival = self._arrivals()[0] + 1
        if self.db.execute(f"{put} VALUES ({marks}, ?)", (*numbers, *judged, arrival)).rowcount != 1:
            return False
        self.db.execute("UPDATE arrivals SET decisions = ?", (arrival,))
        rows = [(arrival, one.version, one.said, *one.judged) for one in opinions]
        self.db.executemany("INSERT INTO opinions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        chosen = "SELECT is_fraud, labelled_at_us FROM early WHERE event_id = ?"
        if early := self.db.execute(chosen, (served.event_id,)).fetchall():
            self.db.execute("DELETE FROM early WHERE event_id = ?", (served.event_id,))
            for is_fraud, labelled_at_us in early:
                self.label(served.event_id, bool(is_fraud), labelled_at_us)
        return True

    def has(self, event_id: str) -> bool:
        """Whether this event's decision is there."""
        return self.db.execute("SELECT 1 FROM decisions WHERE event_id = ?", (event_id,)).fetchone() is not None

    def label(self, event_id: str, is_fraud: bool, labelled_at_us: int) -> None:
        """What an event turned out to be; the newest holds, of two of one moment fraud. It may come before the event.

        So the order in which labels come makes no difference.
        """
        newest = "(labelled_at_us IS NULL OR (labelled_at_us, is_fraud) < (?2, ?1))"
        change = f"UPDATE decisions SET is_fraud = ?1, labelled_at_us = ?2 WHERE event_id = ?3 AND {newest}"
        if self.db.execute(change, (is_fraud, labelled_at_us, event_id)).rowcount:
            return
        if self.has(event_id):
            return
        arrival = self._arrivals()[1] + 1
        self.db.execute("UPDATE arrivals SET labels = ?", (arrival,))
        row = (event_id, is_fraud, labelled_at_us, arrival)
        self.db.execute("INSERT OR IGNORE INTO early VALUES (?, ?, ?, ?)", row)

    def skip(self, version: str, why: str, count: int = 1) -> None:
        """Count decisions that a version could not score."""
        again = "ON CONFLICT (version, why) DO UPDATE SET count = count + excluded.count"
        self.db.execute(f"INSERT INTO skipped VALUES (?, ?, ?) {again}", (version, why, count))

    def skipped(self) -> dict[str, dict[str, int]]:
        """How many decisions were skipped, by version and reason."""
        found: dict[str, dict[str, int]] = {}
        for version, why, count in self.db.execute("SELECT version, why, count FROM skipped ORDER BY version, why"):
            found.setdefault(version, {})[why] = count
        return found

    def forget(self, oldest_us: int, decisions: int, early: int) -> None:
        """Keep what happened since `oldest_us`, and the newest so many decisions and labels without one."""
        first, first_early = (last - kept for last, kept in zip(self._arrivals(), (decisions, early), strict=True))
        self.db.execute("DELETE FROM decisions WHERE event_time_us < ?", (oldest_us,))
        self.db.execute("DELETE FROM decisions WHERE arrival <= ?", (first,))
        self.db.execute("DELETE FROM early WHERE arrival <= ?", (first_early,))

    def newest_us(self) -> tuple[int, int] | None:
        """The latest event time, and the latest time of scoring; None without decisions."""
        row = self.db.execute("SELECT max(event_time_us), max(scored_at_us) FROM decisions").fetchone()
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def count(self) -> int:
        """How many decisions are kept."""
        return int(self.db.execute("SELECT count(*) FROM decisions").fetchone()[0])

    def before(self, version: str, at_us: int) -> bytes | None:
        """What was kept of the champion before this promotion."""
        chosen = "SELECT before FROM promotions WHERE version = ? AND at_us = ?"
        row = self.db.execute(chosen, (version, at_us)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_before(self, version: str, at_us: int, before: bytes) -> None:
        """Keep what the champion before this promotion showed, for when its decisions are gone."""
        self.db.execute("INSERT OR REPLACE INTO promotions VALUES (?, ?, ?)", (version, at_us, before))

    def erase(self, events: Iterable[str], dry_run: bool = False) -> int:
        """Delete what is kept of these events; how many rows. Nothing deleted is left in the file."""
        doomed = [(event_id,) for event_id in events]
        tables = ("decisions", "early")
        if dry_run:
            counts = (
                self.db.execute(f"SELECT count(*) FROM {table} WHERE event_id = ?", one).fetchone()[0]
                for table in tables
                for one in doomed
            )
            return sum(map(int, counts))
        with self.transaction():
            count = sum(
                self.db.execute(f"DELETE FROM {table} WHERE event_id = ?", one).rowcount
                for table in tables
                for one in doomed
            )
        scrub(self.db)
        return count

    def offsets(self) -> dict[tuple[str, Partition], int]:
        """Where to go on, by log and partition."""
        rows = self.db.execute("SELECT log, topic, number, next FROM offsets")
        return {(log, Partition(topic, number)): next_offset for log, topic, number, next_offset in rows}

    def save_offsets(self, log_name: str, next_offsets: Mapping[Partition, int]) -> None:
        """The offsets after the last entries whose effects are in this file."""
        rows = [(log_name, part.topic, part.number, offset) for part, offset in next_offsets.items()]
        self.db.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", rows)

    def _arrivals(self) -> tuple[int, int]:
        row: tuple[int, int] = self.db.execute("SELECT decisions, labels FROM arrivals").fetchone()
        return row
