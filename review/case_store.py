"""Cases, verdicts, the labels they give and the audit, in one SQLite file: what belongs together is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from review.case import AuditEntry, Case, Deed, Place, joined_by, label_of, opened_by, source_of
from review.case_erasure import IsOf, erase_flags, search_cases
from review.schema import migrate
from stream.log import Partition
from stream.records import MICROSECOND, Decision, Label, Reason, Verdict, decode, encode, from_micros, micros
from stream.sqlite_file import scrub, transaction

Offsets = Mapping[tuple[str, Partition], int]
"""Where to go on, by the log's name and partition."""

EVENTS_LIMIT = 1000
PAGE_LIMIT = 1000

_COLUMNS = (
    "case_id, use_case, entity, event_id, opened_at_us, outcome, score, amount, currency, expected_loss, reasons, "
    "rules, status, verdict, decided_by, decided_at_us"
)


class UnknownCase(LookupError):
    """There is no such case."""


class Taken(NamedTuple):
    """What a batch of decisions came to; `repeated` had been taken in before."""

    opened: int = 0
    joined: int = 0
    repeated: int = 0


class CaseStore:
    """One SQLite file, made or brought up to date when opened. One thread uses it at a time; others may share the file.

    A flagged event joins the newest open case of its entity; one with `events_limit` events is full and the next event
    opens another. `":memory:"` keeps nothing. Raises `sqlite3.OperationalError` where the disk is full or locked.
    """

    def __init__(self, path: Path | str, events_limit: int = EVENTS_LIMIT) -> None:
        self._events_limit = events_limit
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            migrate(self._db)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # From decisions to cases

    def take_in(self, decisions: Iterable[Decision], offsets: Offsets) -> Taken:
        """Open or join a case for each decision that is not to approve, once for each event id; keep the offsets.

        All of it or nothing, durable when it returns. Offsets only grow: a batch that comes again moves nothing back.
        """
        opened = joined = repeated = 0
        with transaction(self._db):
            for decision in decisions:
                if decision.outcome == "approve":
                    continue
                if self._db.execute("SELECT 1 FROM flags WHERE event_id = ?", (decision.event_id,)).fetchone():
                    repeated += 1
                    continue
                case = self._joinable(decision)
                if case is None:
                    opened += 1
                    self._insert(opened_by(decision), decision)
                else:
                    joined += 1
                    self._join(joined_by(case, decision), decision)
            rows = [(log, part.topic, part.number, offset) for (log, part), offset in offsets.items()]
            grow = "ON CONFLICT (log, topic, number) DO UPDATE SET next = max(next, excluded.next)"
            self._db.executemany(f"INSERT INTO offsets VALUES (?, ?, ?, ?) {grow}", rows)
        return Taken(opened, joined, repeated)

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in this partition; 0 if nothing of it was taken in."""
        found = "SELECT next FROM offsets WHERE log = ? AND topic = ? AND number = ?"
        row = self._db.execute(found, (log_name, partition.topic, partition.number)).fetchone()
        return 0 if row is None else int(row[0])

    def rewind(self, log_name: str, partition: Partition) -> None:
        """Go on from the oldest entry of a partition: what was taken in is known by its event ids."""
        gone = "DELETE FROM offsets WHERE log = ? AND topic = ? AND number = ?"
        self._db.execute(gone, (log_name, partition.topic, partition.number))

    # Reading

    def queue(self, limit: int = 50, after: Place | None = None) -> list[Case]:
        """Up to `limit` open cases, the greatest expected loss first, the oldest first among equals.

        `after` is the `Place` of the last case of the page before. Raises `ValueError` if `limit` is not 1 to 1000.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise ValueError(f"limit is {limit}; a page has 1 to {PAGE_LIMIT} cases")
        beyond, bounds = "", tuple[object, ...]()
        if after is not None:
            beyond = "AND (rank, opened_at_us, case_id) > (?, ?, ?)"
            bounds = (-after.expected_loss, after.opened_at_us, after.case_id)
        order = f"{beyond} ORDER BY rank, opened_at_us, case_id LIMIT ?"
        return self._cases(f"status = 'open' {order}", (*bounds, limit))

    def case(self, case_id: str) -> Case:
        """One case. Raises `UnknownCase`."""
        found = self._cases("case_id = ?", (case_id,))
        if not found:
            raise UnknownCase(f"there is no case {case_id!r}; 'headrace review list' shows those that are open")
        return found[0]

    def decisions(self, case_id: str) -> list[Decision]:
        """The decisions on the events of a case as they were logged, first come first. Raises `UnknownCase`."""
        rows = self._db.execute("SELECT decision FROM flags WHERE case_id = ? ORDER BY number", (case_id,)).fetchall()
        if not rows:
            self.case(case_id)
        return [decode(row[0], Decision) for row in rows]

    def audit(self, case_id: str) -> list[AuditEntry]:
        """All that was ever done to a case, in order; nothing if there is no such case."""
        rows = self._db.execute(
            'SELECT case_id, at_us, "by", deed, event_id, verdict FROM audit WHERE case_id = ? ORDER BY number',
            (case_id,),
        )
        return [
            AuditEntry(case_id=case_id, at=from_micros(at_us), by=by, deed=deed, event_id=event_id, verdict=verdict)
            for case_id, at_us, by, deed, event_id, verdict in rows
        ]

    def open_count(self) -> int:
        """How many cases wait for a verdict."""
        return int(self._db.execute("SELECT count(*) FROM cases WHERE status = 'open'").fetchone()[0])

    # Verdicts

    def decide(self, case_id: str, verdict: Verdict, by: str, at: datetime) -> list[Label]:
        """Give a verdict; the labels of the case's events, which are in the outbox when this returns.

        Another verdict on a decided case reverses it. The same verdict again is only noted: it gives no labels, so a
        repeated request does no harm; to state it anew (against a later label of another source), reopen the case.
        Labels of a later verdict bear a later time than those before, whatever the clocks of two analysts say.

        Raises `UnknownCase`; `ValueError` for a name, a verdict or a time without a zone that a label cannot have.
        """
        source_of(by)
        with transaction(self._db):
            case = self.case(case_id)
            if case.status == "decided" and case.verdict == verdict:
                self._note(case_id, "confirmed", by, at, verdict=verdict)
                return []
            decided_at = at if case.decided_at is None else max(at, case.decided_at + MICROSECOND)
            labels = [label_of(decision, verdict, by, decided_at) for decision in self.decisions(case_id)]
            rows = [(label.identity, encode(label)) for label in labels]
            self._db.executemany("INSERT OR IGNORE INTO outbox (identity, label) VALUES (?, ?)", rows)
            change = "status = 'decided', verdict = ?, decided_by = ?, decided_at_us = ?"
            values = (verdict, by, micros(decided_at), case_id)
            self._db.execute(f"UPDATE cases SET {change} WHERE case_id = ?", values)
            deed: Deed = "decided" if case.verdict in (None, "unknown", verdict) else "reversed"
            self._note(case_id, deed, by, at, verdict=verdict)
        return labels

    def reopen(self, case_id: str, by: str, at: datetime) -> Case:
        """Put a decided case back into the queue; its labels stand until the next verdict. An open one stays."""
        source_of(by)
        with transaction(self._db):
            if self.case(case_id).status == "decided":
                self._db.execute("UPDATE cases SET status = 'open' WHERE case_id = ?", (case_id,))
                self._note(case_id, "reopened", by, at)
            return self.case(case_id)

    # The outbox

    def unsent(self, limit: int) -> list[Label]:
        """Labels that have not been marked as sent, in the order of their verdicts."""
        rows = self._db.execute("SELECT label FROM outbox WHERE sent = 0 ORDER BY number LIMIT ?", (limit,)).fetchall()
        return [decode(row[0], Label) for row in rows]

    def mark_sent(self, labels: Sequence[Label]) -> None:
        """These labels are in the log. Call it only after they were appended: marked too early, they can be lost."""
        with transaction(self._db):
            self._db.executemany("UPDATE outbox SET sent = 1 WHERE identity = ?", [(one.identity,) for one in labels])

    # Forgetting

    def flagged(self, is_of: IsOf) -> list[Decision]:
        """The flagged decisions that are about somebody."""
        return search_cases(self._db, is_of)[0]

    def erase(self, is_of: IsOf) -> int:
        """Delete the events and labels of somebody, cases without other events too; how many rows. Repeats do nothing.

        What is left of a case is as if the others alone had come. Nothing deleted is left in the file.
        """
        with transaction(self._db):
            decisions, labels = search_cases(self._db, is_of)
            for case_id in erase_flags(self._db, [decision.event_id for decision in decisions], labels):
                first, *others = self.decisions(case_id)
                case = opened_by(first)
                for decision in others:
                    case = joined_by(case, decision)
                changed = ", ".join(f"{name} = ?" for name in _figures(case))
                values = (*_figures(case).values(), case.entity, len(case.events), case_id)
                self._db.execute(f"UPDATE cases SET {changed}, entity = ?, event_count = ? WHERE case_id = ?", values)
        scrub(self._db)
        return len(decisions) + len(labels)

    def _joinable(self, decision: Decision) -> Case | None:
        newest = "status = 'open' AND use_case = ? AND entity = ? AND event_count < ? ORDER BY number DESC LIMIT 1"
        found = self._cases(newest, (decision.use_case, decision.key, self._events_limit))
        return found[0] if found else None

    def _insert(self, case: Case, decision: Decision) -> None:
        names = "case_id, use_case, entity, opened_at_us, status, event_count"
        opening = (case.case_id, case.use_case, case.entity, micros(case.opened_at), case.status, len(case.events))
        marks = ", ".join("?" * (len(opening) + len(_figures(case))))
        every = f"INSERT INTO cases ({names}, {', '.join(_figures(case))}) VALUES ({marks})"
        self._db.execute(every, (*opening, *_figures(case).values()))
        self._add_flag(case.case_id, "opened", decision)

    def _join(self, case: Case, decision: Decision) -> None:
        changed = ", ".join(f"{name} = ?" for name in _figures(case))
        values = (*_figures(case).values(), len(case.events), case.case_id)
        self._db.execute(f"UPDATE cases SET {changed}, event_count = ? WHERE case_id = ?", values)
        self._add_flag(case.case_id, "joined", decision)

    def _add_flag(self, case_id: str, deed: Deed, decision: Decision) -> None:
        row = (decision.event_id, case_id, encode(decision))
        self._db.execute("INSERT INTO flags (event_id, case_id, decision) VALUES (?, ?, ?)", row)
        self._note(case_id, deed, None, decision.scored_at, event_id=decision.event_id)

    def _note(
        self,
        case_id: str,
        deed: Deed,
        by: str | None,
        at: datetime,
        event_id: str | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        row = (case_id, micros(at), by, deed, event_id, verdict)
        names = 'case_id, at_us, "by", deed, event_id, verdict'
        self._db.execute(f"INSERT INTO audit ({names}) VALUES (?, ?, ?, ?, ?, ?)", row)

    def _cases(self, condition: str, values: tuple[Any, ...]) -> list[Case]:
        # Both reads see one moment, so that a case that another process joins meanwhile is whole.
        with nullcontext() if self._db.in_transaction else transaction(self._db, "DEFERRED"):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM cases WHERE {condition}", values).fetchall()
            events: dict[str, list[str]] = {row[0]: [] for row in rows}
            marks = ", ".join("?" * len(rows))
            found = f"SELECT case_id, event_id FROM flags WHERE case_id IN ({marks}) ORDER BY number"
            for case_id, event_id in self._db.execute(found, tuple(events)):
                events[case_id].append(event_id)
        return [_case(row, events[row[0]]) for row in rows]


def _figures(case: Case) -> dict[str, Any]:
    """The columns that change when another event joins."""
    return {
        "event_id": case.event_id,
        "outcome": case.outcome,
        "score": case.score,
        "amount": case.amount,
        "currency": case.currency,
        "expected_loss": case.expected_loss,
        "reasons": msgspec.json.encode(case.reasons),
        "rules": msgspec.json.encode(case.rules),
    }


def _case(row: tuple[Any, ...], events: list[str]) -> Case:
    columns = dict(zip(_COLUMNS.split(", "), row, strict=True))
    opened_at_us, decided_at_us = columns.pop("opened_at_us"), columns.pop("decided_at_us")
    columns |= {
        "reasons": msgspec.json.decode(columns["reasons"], type=tuple[Reason, ...]),
        "rules": msgspec.json.decode(columns["rules"], type=tuple[str, ...]),
    }
    decided_at = None if decided_at_us is None else from_micros(decided_at_us)
    return Case(opened_at=from_micros(opened_at_us), decided_at=decided_at, events=tuple(events), **columns)
