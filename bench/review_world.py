"""A case store after some months of work: cases that wait, closed ones with their audit, a card with thousands."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection, Table, bindparam, event, insert, select, text, update

from review.case import case_id_of, label_of
from review.case_rows import noted
from review.case_store import CaseStore
from review.review_policy import ReviewPolicy
from review.tables import AUDIT, CASES, FLAGS, OUTBOX, TERMS, TRAITS, VECTORS
from stream.records import Decision, MemberScore, Reason, Transaction, Verdict, encode, micros

BATCH = 1_000
FEATURES = 40
DAYS = 90
ANALYSTS = tuple(f"analyst-{number}" for number in range(12))
VERDICTS: tuple[Verdict, ...] = ("legit", "fraud", "unknown")
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=2)
BUSY, FULL = "card-busy", "card-full"
"""A card with many cases, and one whose case has as many events as a case may have."""


class World(NamedTuple):
    """How much there is."""

    waiting: int = 100_000
    closed: int = 400_000
    copies: int = 9
    """So many of ten closed cases are copies of the first with ids of their own: they are many, and alike anyway."""
    of_busy: int = 5_000
    of_full: int = 1_000


def fill(place: str, world: World) -> None:
    """Put all of it into an empty store. Minutes."""
    with closing(CaseStore(place, events_limit=1, policy=ReviewPolicy())) as store:
        if store.database.is_sqlite:
            event.listen(store.database.engine, "connect", _hurried)
            store.database.engine.dispose()
        for batch in _batches(world.closed // (world.copies + 1), "old"):
            share = world.of_busy / max(world.closed, 1)
            mine = [_busy(one) if int(n * share) != int((n + 1) * share) else one for n, one in batch]
            store.take_in(mine, {})
            _close(store, mine)
        for batch in _batches(world.waiting, "tx"):
            store.take_in([one for _, one in batch], {})
        _work_on(store, world.waiting)
    with closing(CaseStore(place)) as store:
        joins = [_of_card(one, FULL) for batch in _batches(world.of_full, "full") for _, one in batch]
        store.take_in([_of_card(next(_batches(1, "busy"))[0][1], BUSY), *joins], {})


COPIED = (CASES, FLAGS, TRAITS, TERMS, VECTORS, AUDIT, OUTBOX)


def multiply(store: CaseStore, copies: int) -> None:
    """Copy every closed case so many times, with all that is said of it. In the database alone, which is quick."""
    closed = "SELECT case_id FROM cases WHERE status = 'decided' ORDER BY number"
    indexes = [index for table in COPIED for index in table.indexes]
    with store.database.writing() as db:
        ids = list(db.execute(text(closed)).scalars())
        db.execute(text("CREATE TABLE again (old TEXT PRIMARY KEY, fresh TEXT)"))
        # Made anew at the end: they are sorted once, instead of being added to in no order.
        for index in indexes:
            index.drop(db)
    for copy in range(1, copies + 1):
        with store.database.writing() as db:
            db.execute(text("DELETE FROM again"))
            rows = [{"old": one, "fresh": case_id_of(f"{one}~{copy}")} for one in ids]
            db.execute(text("INSERT INTO again VALUES (:old, :fresh)"), rows)
            for table in COPIED:
                _copy_rows(db, table, copy)
    for index in indexes:
        with store.database.writing() as db:
            index.create(db)
    with store.database.writing() as db:
        db.execute(text("DROP TABLE again"))


def _copy_rows(db: Connection, table: Table, copy: int) -> None:
    names = [one.name for one in table.columns if one.name != "number"]
    wanted = [_CHANGED.get((table.name, name), _CHANGED.get(("", name), f'"{name}"')) for name in names]
    columns = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join(one.replace("COPY", str(copy)) for one in wanted)
    source = f"{table.name} JOIN again ON again.old = {table.name}.case_id"
    order = "" if table in (TRAITS, TERMS, VECTORS) else f"ORDER BY {table.name}.number"
    db.execute(text(f"INSERT INTO {table.name} ({columns}) SELECT {chosen} FROM {source} {order}"))


_CHANGED = {
    ("", "case_id"): "again.fresh",
    ("flags", "event_id"): "event_id || '~COPY'",
    ("outbox", "identity"): "identity || '~COPY'",
    ("cases", "decided_at_us"): "decided_at_us - COPY * 1000003",
}


def _hurried(connection: sqlite3.Connection, _: Any) -> None:
    for pragma in ("synchronous = OFF", "cache_size = -400000", "wal_autocheckpoint = 20000"):
        connection.execute(f"PRAGMA {pragma}")


def tidy(store: CaseStore) -> None:
    """What a database does by itself in time: its figures of what is where, and the log put into the file."""
    if store.database.is_sqlite:
        with store.database.engine.connect() as db:
            db.commit()
        raw = store.database.engine.raw_connection()
        try:
            raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
        finally:
            raw.close()
        return
    with store.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text("VACUUM ANALYZE"))


def decision(prefix: str, number: int, picked: random.Random, at: datetime | None = None) -> Decision:
    """A flag on a card of its own; a quarter are cheap and of kiosks, and so lie last in the queue."""
    at = at or START + timedelta(seconds=picked.random() * 86400)
    cheap = picked.random() < 0.25
    amount = picked.random() if cheap else picked.lognormvariate(5.0, 1.2)
    score = picked.random()
    rules = [name for name, share in (("common", 0.3), ("rare", 0.0005)) if picked.random() < share]
    event_id = f"{prefix}-{number:07}"
    return Decision(
        event_id=event_id,
        event_timestamp=at,
        scored_at=at,
        use_case="fraud",
        outcome="decline" if score > 0.9 else "review",
        score=score,
        scores={"batch": MemberScore("3", score), "online": MemberScore("7", score / 2)},
        vector=[picked.gauss(0.0, 1.0) for _ in range(FEATURES)],
        definition_hash="bench",
        policy_version="1",
        record=Transaction(
            event_id=event_id,
            event_timestamp=at,
            card_id=f"card-{prefix}-{number:07}",
            merchant_id=f"kiosk-{picked.randrange(50)}" if cheap else f"shop-{picked.randrange(500)}",
            device_id=f"device-{picked.randrange(60_000)}",
            customer_id=f"customer-{picked.randrange(80_000)}",
            amount=amount,
        ),
        rules=rules,
        reasons=[
            Reason(f"feature {place}", "far above what is usual for this card", amount, 12.0) for place in range(4)
        ],
    )


def _batches(count: int, prefix: str) -> Iterator[list[tuple[int, Decision]]]:
    picked = random.Random(prefix)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        if prefix != "old":
            yield [(number, decision(prefix, number, picked)) for number in numbers]
            continue
        # In the order of their times, as they came.
        first = NOW - timedelta(days=DAYS + 1)
        yield [(n, decision(prefix, n, picked, first + timedelta(days=DAYS) * (n / count))) for n in numbers]


def _of_card(one: Decision, card_id: str) -> Decision:
    return replace(one, record=replace(one.record, card_id=card_id))


def _busy(one: Decision) -> Decision:
    return _of_card(one, BUSY)


def _close(store: CaseStore, decisions: Sequence[Decision]) -> None:
    """What claims and verdicts leave, in one go: given one by one, they would take hours."""
    picked = random.Random(decisions[0].event_id)
    changed: list[dict[str, Any]] = []
    audit: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for one in decisions:
        case_id, by = case_id_of(one.event_id), picked.choice(ANALYSTS)
        verdict = picked.choices(VERDICTS, (0.8, 0.17, 0.03))[0]
        claimed_at = one.event_timestamp + timedelta(minutes=picked.expovariate(1 / 120.0))
        at = min(claimed_at + timedelta(minutes=4), NOW)
        changed.append({"of": case_id, "v": verdict, "who": by, "at": micros(at), "s": int(picked.random() < 0.01)})
        audit.append(noted(case_id, "claimed", by, claimed_at))
        audit.append(noted(case_id, "decided", by, at, verdict=verdict))
        if picked.random() < 0.005:
            audit.append(noted(case_id, "reversed", by, at, verdict=verdict, detail=picked.choice(ANALYSTS)))
        label = label_of(one, verdict, by, at)
        labels.append(
            {
                "identity": label.identity,
                "label": encode(label),
                "case_id": case_id,
                "decided_at_us": micros(at),
                "sent": 1,
                "leaving": 1,
            }
        )
    values = {"status": "decided", "verdict": bindparam("v"), "decided_by": bindparam("who")}
    values |= {"decided_at_us": bindparam("at"), "sampled": bindparam("s")}
    with store.database.writing() as db:
        db.execute(update(CASES).where(CASES.c.case_id == bindparam("of")).values(values), changed)
        db.execute(insert(AUDIT), audit)
        db.execute(insert(OUTBOX), labels)


def _work_on(store: CaseStore, waiting: int) -> None:
    """Some of the cases that wait are snoozed, proposed, given to somebody or at hand."""
    some = select(CASES.c.case_id).where(CASES.c.status == "open").order_by(CASES.c.case_id)
    with store.database.writing() as db:
        ids = list(db.execute(some.limit(waiting // 10)).scalars())
        picked = random.Random(3)
        picked.shuffle(ids)
        share = max(len(ids) // 100, 1)
        until_us = micros(NOW + timedelta(days=1))
        for start, size, columns in (
            (0, 20, {"snoozed_until_us": until_us}),
            (20, 5, {"status": "proposed", "proposed": "fraud", "proposed_by": ANALYSTS[0]}),
            (25, 50, {"assigned_to": ANALYSTS[1]}),
            (75, 1, {"claimed_by": ANALYSTS[2], "claimed_until_us": until_us}),
        ):
            rows = [{"of": case_id} for case_id in ids[start * share : (start + size) * share]]
            if rows:
                db.execute(update(CASES).where(CASES.c.case_id == bindparam("of")).values(**columns), rows)
