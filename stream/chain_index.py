"""Where each subject of the chain stands: found again from the chain whenever it is lost, so it proves nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stream.chain_entry import BEGINNING
from stream.sqlite_file import BUSY_TIMEOUT_S, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
    subject TEXT PRIMARY KEY, number INTEGER NOT NULL, segment INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_to (
    id INTEGER PRIMARY KEY CHECK (id = 1), segment INTEGER, at INTEGER, number INTEGER, hash TEXT
);
"""
LOOKED_UP_AT_ONCE = 500


class Spot(NamedTuple):
    """Where an entry begins: the segment (by the number of its first entry) and the byte."""

    number: int
    segment: int
    at: int


class ReadTo(NamedTuple):
    """The end of what is indexed: the byte after its last entry, and that entry's number and hash."""

    segment: int = 1
    at: int = 0
    number: int = 0
    hash: str = BEGINNING


class ChainIndex:
    """One SQLite file, shared by processes; whoever writes holds the chain's lock."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # what a crash takes from it is read from the chain again
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def read_to(self) -> ReadTo:
        """How far the chain is indexed."""
        row = self._db.execute("SELECT segment, at, number, hash FROM read_to").fetchone()
        return ReadTo() if row is None else ReadTo(*row)

    def known(self, subjects: Sequence[str]) -> set[str]:
        """Which of these subjects stand in the chain."""
        found: set[str] = set()
        for first in range(0, len(subjects), LOOKED_UP_AT_ONCE):
            some = subjects[first : first + LOOKED_UP_AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._db.execute(f"SELECT subject FROM subjects WHERE subject IN ({marks})", tuple(some))
            found |= {row[0] for row in rows}
        return found

    def spots(self, prefix: str) -> list[Spot]:
        """The entries whose subject begins like this, by number."""
        after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        found = "SELECT number, segment, at FROM subjects WHERE subject >= ? AND subject < ? ORDER BY number"
        return [Spot(*row) for row in self._db.execute(found, (prefix, after))]

    def add(self, spots: Sequence[tuple[str, Spot]], read_to: ReadTo) -> None:
        """Add entries by subject and say how far it goes now, at once."""
        with transaction(self._db):
            rows = [(subject, *spot) for subject, spot in spots]
            self._db.executemany("INSERT OR IGNORE INTO subjects VALUES (?, ?, ?, ?)", rows)
            self._db.execute("INSERT OR REPLACE INTO read_to VALUES (1, ?, ?, ?, ?)", read_to)
