"""What the learner must not lose, in one SQLite file: decisions, early labels, verdicts, offsets and weights.

The tables of its guard are in the same file (`training/learner_kept.py`).

Leaves only: nothing here decides anything. Whoever uses it opens one `transaction` around all that one poll causes, so
that weights and offsets are always of one moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from models.contract import Vector
from stream.log import Partition
from stream.records import Label, Verdict, decode, encode
from stream.sqlite_file import BUSY_TIMEOUT_S, scrub, transaction
from training.learner_kept import Kept

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    event_id TEXT PRIMARY KEY, arrival INTEGER NOT NULL, event_time_us INTEGER NOT NULL,
    definition_hash TEXT NOT NULL, vector BLOB NOT NULL, scores BLOB NOT NULL,
    verdict TEXT, labelled_at_us INTEGER
);
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (event_time_us);
CREATE INDEX IF NOT EXISTS decisions_by_arrival ON decisions (arrival);
CREATE TABLE IF NOT EXISTS unobserved (
    event_time_us INTEGER NOT NULL, event_id TEXT NOT NULL, PRIMARY KEY (event_time_us, event_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (
    identity TEXT PRIMARY KEY, event_id TEXT NOT NULL REFERENCES decisions ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS applied_by_event ON applied (event_id);
CREATE TABLE IF NOT EXISTS early (
    identity TEXT PRIMARY KEY, arrival INTEGER NOT NULL, event_id TEXT NOT NULL, label BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS early_by_event ON early (event_id);
CREATE INDEX IF NOT EXISTS early_by_arrival ON early (arrival);
CREATE TABLE IF NOT EXISTS labelled (
    event_id TEXT PRIMARY KEY, arrival INTEGER NOT NULL, is_fraud INTEGER NOT NULL, scores BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS labelled_by_arrival ON labelled (arrival);
CREATE TABLE IF NOT EXISTS offsets (
    log TEXT, topic TEXT, number INTEGER, next INTEGER NOT NULL, PRIMARY KEY (log, topic, number)
);
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, weights BLOB, counters BLOB
);
INSERT OR IGNORE INTO state VALUES (1, 0, NULL, NULL);
"""

FILE = "learner.sqlite"
"""Its name in the home folder."""

Scores = dict[str, float]
FIRST_US = -(2**63)


class StateMoved(RuntimeError):
    """Another learner or a person's command wrote to the file. A retry helps: the state has to be read again first."""


class LoggedDecision(NamedTuple):
    """What was logged when the event was scored, and what it turned out to be (None: not known yet)."""

    event_id: str
    definition_hash: str
    vector: Vector
    scores: Scores
    verdict: Verdict | None
    labelled_at_us: int | None
    event_time_us: int


class Unobserved(NamedTuple):
    """A decision's place in the order of observation, and what the scaler will see of it."""

    event_time_us: int
    event_id: str
    definition_hash: str
    vector: Vector


class LabelledScore(NamedTuple):
    """The scores of one event whose verdict is known."""

    event_id: str
    is_fraud: bool
    scores: Scores


class LearnerStore:
    """One SQLite file. Use it from one thread at a time; `":memory:"` keeps nothing."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)
        self.kept = Kept(self._db)

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, durable when it ends. Raises `sqlite3.OperationalError` when the disk is full or locked."""
        return transaction(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Decisions

    def add_decision(
        self, event_id: str, arrival: int, event_time_us: int, definition_hash: str, vector: Vector, scores: Scores
    ) -> bool:
        """Keep a decision, not observed yet; False (and nothing changed) if this event's is there already."""
        row = (event_id, arrival, event_time_us, definition_hash, vector.tobytes(), msgspec.json.encode(scores))
        done = self._db.execute("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", row)
        if done.rowcount != 1:
            return False
        self._db.execute("INSERT INTO unobserved VALUES (?, ?)", (event_time_us, event_id))
        return True

    def unobserved(self, after: tuple[int, str] | None, limit: int) -> list[Unobserved]:
        """The first `limit` decisions not observed yet, by event time and then id, after this time and id."""
        rows = self._db.execute(
            "SELECT at_us, event_id, d.definition_hash, d.vector"
            " FROM (SELECT event_time_us AS at_us, event_id FROM unobserved WHERE (event_time_us, event_id) > (?, ?)"
            " ORDER BY event_time_us, event_id LIMIT ?) JOIN decisions d USING (event_id) ORDER BY at_us, event_id",
            (*(after or (FIRST_US, "")), limit),
        )
        return [
            Unobserved(at_us, event_id, definition_hash, np.frombuffer(vector, dtype=np.float64))
            for at_us, event_id, definition_hash, vector in rows.fetchall()
        ]

    def drop_unobserved(self, up_to: tuple[int, str]) -> None:
        """Decisions up to this event time and id are observed."""
        self._db.execute("DELETE FROM unobserved WHERE (event_time_us, event_id) <= (?, ?)", up_to)

    def oldest_unobserved_us(self) -> int | None:
        """The first event time among the decisions not observed yet."""
        oldest: int | None = self._db.execute("SELECT min(event_time_us) FROM unobserved").fetchone()[0]
        return oldest

    def decision(self, event_id: str) -> LoggedDecision | None:
        """The decision on an event, if it is kept."""
        columns = "event_id, definition_hash, vector, scores, verdict, labelled_at_us, event_time_us"
        row = self._db.execute(f"SELECT {columns} FROM decisions WHERE event_id = ?", (event_id,)).fetchone()
        if row is None:
            return None
        scores = msgspec.json.decode(row[3], type=Scores)
        return LoggedDecision(row[0], row[1], np.frombuffer(row[2], dtype=np.float64), scores, *row[4:])

    def set_verdict(self, event_id: str, verdict: Verdict, labelled_at_us: int) -> None:
        """What the event turned out to be, as of `labelled_at_us`."""
        changed = (verdict, labelled_at_us, event_id)
        self._db.execute("UPDATE decisions SET verdict = ?, labelled_at_us = ? WHERE event_id = ?", changed)

    def newest_event_us(self) -> int | None:
        """The latest event time among the decisions that are kept."""
        newest: int | None = self._db.execute("SELECT max(event_time_us) FROM decisions").fetchone()[0]
        return newest

    def drop_decisions(self, older_than_us: int, up_to_arrival: int) -> int:
        """Forget decisions, with the labels applied to them; gives how many of them were still waiting."""
        dropped = self._db.execute(
            "DELETE FROM decisions WHERE event_time_us < ? OR arrival <= ? RETURNING event_time_us, event_id, verdict",
            (older_than_us, up_to_arrival),
        ).fetchall()
        self._db.executemany(
            "DELETE FROM unobserved WHERE event_time_us = ? AND event_id = ?", [r[:2] for r in dropped]
        )
        return sum(verdict is None for *_, verdict in dropped)

    # Labels

    def add_applied(self, label: Label) -> bool:
        """Remember that this very label was applied; False if it was before."""
        row = (label.identity, label.event_id)
        return self._db.execute("INSERT OR IGNORE INTO applied VALUES (?, ?)", row).rowcount == 1

    def add_early(self, label: Label, arrival: int) -> bool:
        """Keep a label whose decision has not come; False if it is kept already."""
        row = (label.identity, arrival, label.event_id, encode(label))
        return self._db.execute("INSERT OR IGNORE INTO early VALUES (?, ?, ?, ?)", row).rowcount == 1

    def take_early(self, event_id: str) -> list[tuple[int, Label]]:
        """The labels that came before this event's decision, by arrival; they are kept no longer."""
        chosen = "SELECT arrival, label FROM early WHERE event_id = ? ORDER BY arrival"
        rows = self._db.execute(chosen, (event_id,)).fetchall()
        if rows:
            self._db.execute("DELETE FROM early WHERE event_id = ?", (event_id,))
        return [(arrival, decode(label, Label)) for arrival, label in rows]

    def drop_early(self, up_to_arrival: int) -> int:
        """Forget the early labels that came first; gives how many."""
        return self._db.execute("DELETE FROM early WHERE arrival <= ?", (up_to_arrival,)).rowcount

    # Labelled scores

    def put_labelled(self, labelled: LabelledScore, arrival: int) -> bool:
        """Add a labelled score; or correct its verdict, keep its place and give False."""
        put = (
            "INSERT INTO labelled VALUES (?, ?, ?, ?)"
            " ON CONFLICT (event_id) DO UPDATE SET is_fraud = excluded.is_fraud RETURNING arrival"
        )
        row = (labelled.event_id, arrival, labelled.is_fraud, msgspec.json.encode(labelled.scores))
        return bool(self._db.execute(put, row).fetchone()[0] == arrival)

    def labelled(self) -> Iterator[LabelledScore]:
        """All labelled scores that are kept, oldest first."""
        rows = self._db.execute("SELECT event_id, is_fraud, scores FROM labelled ORDER BY arrival")
        for event_id, is_fraud, scores in rows:
            yield LabelledScore(event_id, bool(is_fraud), msgspec.json.decode(scores, type=Scores))

    def drop_labelled(self, up_to_arrival: int) -> list[str]:
        """Forget the labelled scores that came first; gives their events."""
        gone = "DELETE FROM labelled WHERE arrival <= ? RETURNING event_id"
        return [row[0] for row in self._db.execute(gone, (up_to_arrival,)).fetchall()]

    # Forgetting

    def erase(self, events: Iterable[str], is_of: Callable[[Label], bool], dry_run: bool = False) -> int:
        """Delete all that is kept of these events, and early labels that are about somebody; how many rows.

        What was learned from them stays in the weights. Nothing deleted is left in the file.
        """
        early = self._db.execute("SELECT event_id, label FROM early").fetchall()
        doomed = {*events, *(event_id for event_id, content in early if is_of(decode(content, Label)))}
        tables = ("unobserved", "applied", "early", "labelled", "decisions")
        count = 0
        if dry_run:
            for table in tables:
                found = (self._db.execute(f"SELECT count(*) FROM {table} WHERE event_id = ?", (e,)) for e in doomed)
                count += sum(int(rows.fetchone()[0]) for rows in found)
            return count
        with self.transaction():
            for table in tables:
                for event_id in doomed:
                    count += self._db.execute(f"DELETE FROM {table} WHERE event_id = ?", (event_id,)).rowcount
        scrub(self._db)
        return count

    # Offsets and state

    def offsets(self) -> dict[tuple[str, Partition], int]:
        """Where to go on, by log and partition."""
        rows = self._db.execute("SELECT log, topic, number, next FROM offsets")
        return {(log, Partition(topic, number)): next_offset for log, topic, number, next_offset in rows}

    def save_offsets(self, log_name: str, next_offsets: Mapping[Partition, int]) -> None:
        """The offsets after the last entries whose effects are in this file."""
        rows = [(log_name, part.topic, part.number, offset) for part, offset in next_offsets.items()]
        self._db.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", rows)

    def revision(self) -> int:
        """How often the state was saved: another number than one's own means that somebody else did."""
        revision: int = self._db.execute("SELECT revision FROM state").fetchone()[0]
        return revision

    def state(self) -> tuple[int, bytes | None, bytes | None]:
        """The revision, the weights and the counters, as last saved."""
        row: tuple[int, bytes | None, bytes | None]
        row = self._db.execute("SELECT revision, weights, counters FROM state").fetchone()
        return row

    def save_state(self, revision: int, weights: bytes, counters: bytes) -> None:
        """Save what follows from the state of `revision`. Raises `StateMoved` if that is not the state any more."""
        change = "UPDATE state SET revision = revision + 1, weights = ?, counters = ? WHERE revision = ?"
        if self._db.execute(change, (weights, counters, revision)).rowcount != 1:
            raise StateMoved(f"the learner's state is past revision {revision}; is another learner running?")
