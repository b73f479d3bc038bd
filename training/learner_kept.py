"""The tables of the learner's guard, in the learner's own file: parts of its state, pairs, snapshots, people's acts.

Leaves only. Made where they are missing, so a file of before them goes on. Use them within the store's transactions.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from models.snapshot import OnlineWeights
from training.paired_losses import Pair, Quality

_SCHEMA = """
CREATE TABLE IF NOT EXISTS guard (part TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, is_fraud INTEGER NOT NULL, live REAL NOT NULL, twin REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS snapshots (
    number INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL UNIQUE, content BLOB NOT NULL, weights BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS acts (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS acts_stay BEFORE DELETE ON acts
BEGIN SELECT raise(ABORT, 'acts are only ever appended'); END;
CREATE TRIGGER IF NOT EXISTS acts_stay_as_they_are BEFORE UPDATE ON acts
BEGIN SELECT raise(ABORT, 'acts are only ever appended'); END;
"""

Part = Literal["state", "twin", "block", "block before"]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Weights that are kept: how much they had learned, up to a label of what time, and how good they were then."""

    version: str
    learned: int
    at_us: int
    definition_hash: str
    quality: Quality | None


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did to the learner."""

    at: datetime
    act: Literal["freeze", "thaw", "restore"]
    by: str
    why: str
    version: str = ""


class Kept:
    """These tables over the store's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(_SCHEMA)

    def part(self, name: Part) -> bytes | None:
        """A part of the guard's state, as last saved."""
        row = self._db.execute("SELECT content FROM guard WHERE part = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def save_part(self, name: Part, content: bytes) -> None:
        """Replace a part."""
        self._db.execute("INSERT OR REPLACE INTO guard VALUES (?, ?)", (name, content))

    def pairs(self) -> list[Pair]:
        """All pairs, oldest first."""
        rows = self._db.execute("SELECT is_fraud, live, twin FROM pairs ORDER BY number")
        return [Pair(bool(is_fraud), live, twin) for is_fraud, live, twin in rows]

    def add_pairs(self, pairs: Sequence[Pair], keep: int) -> None:
        """Append pairs and keep only the newest."""
        self._db.executemany("INSERT INTO pairs (is_fraud, live, twin) VALUES (?, ?, ?)", pairs)
        self._db.execute("DELETE FROM pairs WHERE number <= (SELECT max(number) FROM pairs) - ?", (keep,))

    def clear_pairs(self) -> None:
        """Drop all pairs."""
        self._db.execute("DELETE FROM pairs")

    def add_snapshot(self, snapshot: Snapshot, weights: OnlineWeights, keep: int) -> None:
        """Keep weights under their version, and only the newest snapshots."""
        row = (snapshot.version, msgspec.json.encode(snapshot), zlib.compress(weights.to_json()))
        self._db.execute("INSERT OR REPLACE INTO snapshots (version, content, weights) VALUES (?, ?, ?)", row)
        self._db.execute(
            "DELETE FROM snapshots WHERE number NOT IN (SELECT number FROM snapshots ORDER BY number DESC LIMIT ?)",
            (keep,),
        )

    def snapshots(self) -> list[Snapshot]:
        """All that are kept, oldest first."""
        rows = self._db.execute("SELECT content FROM snapshots ORDER BY number")
        return [msgspec.json.decode(row[0], type=Snapshot) for row in rows]

    def snapshot(self, version: str) -> OnlineWeights | None:
        """The weights of a snapshot, if it is kept."""
        row = self._db.execute("SELECT weights FROM snapshots WHERE version = ?", (version,)).fetchone()
        return None if row is None else OnlineWeights.from_json(zlib.decompress(row[0]))

    def add_act(self, act: Act) -> None:
        """Append what a person did."""
        self._db.execute("INSERT INTO acts (content) VALUES (?)", (msgspec.json.encode(act),))

    def acts(self) -> Iterator[Act]:
        """All acts, oldest first."""
        rows: list[Any] = self._db.execute("SELECT content FROM acts ORDER BY number").fetchall()
        return (msgspec.json.decode(row[0], type=Act) for row in rows)
