"""How verdicts go: how many a day, and how long they take beside the time that the policy gives them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import case, func, select

from review.engine import Database
from review.tables import CASES
from review.verdict_day_tables import DAY_US
from review.verdict_days import verdicts_of_days
from stream.records import Outcome, from_micros, micros

NEWEST = 5_000
"""Verdicts that medians are taken of."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The cases that were decided on one day, UTC, by the verdict that they have now."""

    day: date
    fraud: int = 0
    legit: int = 0
    unknown: int = 0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long the newest verdicts on one kind of case took, from its first event on, and how many came in time."""

    outcome: Outcome
    decided: int
    in_time: int
    median_s: float
    slow_s: float
    """Nine of ten took no longer."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """How many cases have no verdict, and how many of them should have one by now; a snoozed one is not late."""

    cases: int
    overdue: int


def verdicts_a_day(database: Database, since: datetime, until: datetime) -> list[Day]:
    """Every day from one to the other, also those without a verdict."""
    found = verdicts_of_days(database, since, until)
    first, last = micros(since) // DAY_US, micros(until) // DAY_US
    return [Day(day=from_micros(one * DAY_US).date(), **found.get(one, {})) for one in range(first, last + 1)]


def times_to_verdict(database: Database, since: datetime) -> list[Times]:
    """By outcome, the strictest first; of the newest `NEWEST` verdicts since a time."""
    columns = (CASES.c.outcome, CASES.c.opened_at_us, CASES.c.due_at_us, CASES.c.decided_at_us)
    decided = (CASES.c.status == "decided", CASES.c.decided_at_us >= micros(since))
    newest = select(*columns).where(*decided).order_by(CASES.c.decided_at_us.desc(), CASES.c.case_id.desc())
    took: dict[Outcome, list[float]] = {}
    in_time: dict[Outcome, int] = {}
    with database.reading() as db:
        for outcome, opened_us, due_us, decided_us in db.execute(newest.limit(NEWEST)):
            took.setdefault(outcome, []).append((decided_us - opened_us) / 1e6)
            in_time[outcome] = in_time.get(outcome, 0) + (decided_us <= due_us)
    found = []
    for outcome in sorted(took):  # decline before review
        times = sorted(took[outcome])
        found.append(
            Times(
                outcome=outcome,
                decided=len(times),
                in_time=in_time[outcome],
                median_s=times[len(times) // 2],
                slow_s=times[min(len(times) - 1, len(times) * 9 // 10)],
            )
        )
    return found


def waiting(database: Database, now: datetime) -> Waiting:
    """The cases that wait for a verdict: one look at an index has both."""
    late = (CASES.c.due_at_us < micros(now)) & (CASES.c.snoozed_until_us <= micros(now))
    statement = select(func.count(), func.count(case((late, 1)))).where(CASES.c.status.in_(("open", "proposed")))
    with database.reading() as db:
        cases, overdue = db.execute(statement).one()
    return Waiting(cases=int(cases), overdue=int(overdue))


def days_before(now: datetime, days: int) -> datetime:
    """The beginning of the first of so many days, today being the last."""
    return from_micros((micros(now) // DAY_US) * DAY_US) - timedelta(days=days - 1)
