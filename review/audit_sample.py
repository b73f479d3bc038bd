"""What the models miss: a share of the approved events is reviewed too, unmarked, and some of them are fraud."""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import blake2b

import msgspec
from sqlalchemy import Connection, func, select

from review.case import expected_loss
from review.case_rows import CaseRows
from review.either import insert_on
from review.engine import Database
from review.interval import wilson
from review.tables import CASES, FACTS
from stream.records import Decision, micros

SECRET = "audit_secret"
NEWEST = 100


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Of the approved events that were drawn: how many have a verdict of fraud or legit, and how many are fraud.

    `rate` estimates the share of fraud among all approved events, `low` and `high` its 95 % interval; None without
    verdicts. Only for those who do not review: a reviewer who knew which cases are drawn would look at them otherwise.
    """

    sampled: int
    decided: int
    fraud: int
    rate: float | None
    low: float | None
    high: float | None


class Draw:
    """Which approvals are drawn: nobody who sends events can know, and a replay draws the same."""

    def __init__(self, database: Database, share: float) -> None:
        self._limit = round(share * 2**64)
        self._secret = secret_of(database) if share > 0.0 else b""

    def has(self, decision: Decision) -> bool:
        """Whether this approval is drawn."""
        return self._limit > 0 and self._number(decision) < self._limit

    def loss_like_others(self, db: Connection, decision: Decision) -> float:
        """The expected loss of a flagged case of late, drawn: by its own it would stand last, and betray itself."""
        newest = select(CASES.c.expected_loss).where(CASES.c.sampled == 0).order_by(CASES.c.number.desc()).limit(NEWEST)
        losses = list(db.execute(newest).scalars())
        own = expected_loss(decision)
        return max(own, losses[self._number(decision) % len(losses)]) if losses else own

    def _number(self, decision: Decision) -> int:
        drawn = blake2b(decision.event_id.encode(), key=self._secret, digest_size=8)
        return int.from_bytes(drawn.digest())


def secret_of(database: Database) -> bytes:
    """The store's own secret, made when it is first asked for."""
    found = select(FACTS.c.value).where(FACTS.c.name == SECRET)
    with database.reading() as db:
        secret = db.execute(found).scalar()
    if secret is None:
        with database.writing() as db:
            fresh = insert_on(db, FACTS).values(name=SECRET, value=secrets.token_bytes(32))
            db.execute(fresh.on_conflict_do_nothing())
        with database.reading() as db:
            secret = db.execute(found).scalar_one()
    return bytes(secret)


class AuditSample(CaseRows):
    """What the drawn approvals came to."""

    def missed(self, since: datetime | None = None) -> Missed:
        """What the drawn events say of all approved ones, those since a time or all."""
        drawn = [CASES.c.sampled == 1]
        if since is not None:
            drawn.append(CASES.c.opened_at_us >= micros(since))
        statement = select(CASES.c.status, CASES.c.verdict, func.count()).where(*drawn)
        with self.database.reading() as db:
            counts = {
                (status, verdict): count
                for status, verdict, count in db.execute(statement.group_by("status", "verdict"))
            }
        fraud, legit = (counts.get(("decided", verdict), 0) for verdict in ("fraud", "legit"))
        interval = wilson(fraud, fraud + legit)
        rate, low, high = interval or (None, None, None)
        return Missed(sampled=sum(counts.values()), decided=fraud + legit, fraud=fraud, rate=rate, low=low, high=high)
