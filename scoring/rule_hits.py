"""What a rule fired for, day by day: in a backtest by what it turned out to be, in the archive by what the rule did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

import duckdb

from stream.archive import Archive
from stream.records import Decision, from_micros
from stream.table import literal

DAY_US = 86_400_000_000
MODES = ("rules", "shadow_rules", "snoozed_rules")
"""The columns of a decision that name rules: those that did what they do, and those that would have."""


class FiredDay(NamedTuple):
    """What a rule fired for on one day (UTC), by the newest label."""

    day: date
    fraud: int
    legit: int
    unknown: int


class FiredAmount(NamedTuple):
    """What was asked for in one currency where a rule fired: in all, by frauds and by good payments."""

    currency: str
    amount: float
    fraud: float
    legit: float


class FiredFor(NamedTuple):
    """One decision for which a rule fires, and its newest label."""

    event_id: str
    at: datetime
    card_id: str
    merchant_id: str
    amount: float
    currency: str
    score: float
    outcome: str
    verdict: str | None


_BY_DAY = f"""
SELECT at_us // {DAY_US} AS day, count(*) FILTER (verdict = 'fraud'), count(*) FILTER (verdict = 'legit'), count(*)
FROM tried WHERE fires GROUP BY day ORDER BY day
"""
_AMOUNTS = """
SELECT currency, sum(amount), sum(amount) FILTER (verdict = 'fraud'), sum(amount) FILTER (verdict = 'legit')
FROM tried WHERE fires GROUP BY currency ORDER BY sum(amount) DESC
"""
# Some of each kind, drawn by the hash of their ids: the same each time, and from all of the period.
_SAMPLE = """
WITH drawn AS (
    SELECT event_id FROM tried WHERE fires
    QUALIFY row_number() OVER (PARTITION BY coalesce(verdict, 'unknown') ORDER BY hash(event_id)) <= ?
)
SELECT event_id, at_us, record.card_id, record.merchant_id, amount, currency, score, outcome, verdict FROM mature
WHERE event_id IN (SELECT event_id FROM drawn) ORDER BY at_us DESC
"""


def fired_days(database: duckdb.DuckDBPyConnection) -> list[FiredDay]:
    """The days on which it fired, of the backtest that was made in this database."""
    return [
        FiredDay(from_micros(day * DAY_US).date(), fraud, legit, fired - fraud - legit)
        for day, fraud, legit, fired in database.execute(_BY_DAY).fetchall()
    ]


def fired_amounts(database: duckdb.DuckDBPyConnection) -> list[FiredAmount]:
    """Amounts by currency, the largest first, of the backtest that was made in this database."""
    rows = database.execute(_AMOUNTS).fetchall()
    return [FiredAmount(currency, amount, fraud or 0.0, legit or 0.0) for currency, amount, fraud, legit in rows]


def fired_sample(database: duckdb.DuckDBPyConnection, of_each: int) -> list[FiredFor]:
    """Up to so many frauds, good payments and others that it fired for, the newest first."""
    rows = database.execute(_SAMPLE, [of_each]).fetchall()
    return [FiredFor(event_id, from_micros(at_us), *others) for event_id, at_us, *others in rows]


def named_by_day(archive: Archive, use_case: str, since: date) -> dict[str, dict[date, tuple[int, int, int]]]:
    """How often each rule is named on each day from `since` on: as fired, as in shadow, as snoozed.

    A decision that the archive has twice counts twice: this is for looking, not for accounts.
    """
    files = [str(file.path) for file in archive.files(Decision.topic) if file.day >= since]
    found: dict[str, dict[date, tuple[int, int, int]]] = {}
    if not files:
        return found
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        for place, mode in enumerate(MODES):
            for name, day, count in database.execute(_named(files, use_case, mode)).fetchall():
                counts = list(found.setdefault(name, {}).get(day, (0, 0, 0)))
                counts[place] = count
                found[name][day] = (counts[0], counts[1], counts[2])
    return found


def _named(files: Sequence[str], use_case: str, mode: str) -> str:
    paths = ", ".join(map(literal, files))
    return (
        f"SELECT name, CAST(to_timestamp(event_s) AT TIME ZONE 'UTC' AS DATE) AS day, count(*) FROM "
        f"(SELECT unnest({mode}) AS name, epoch(event_timestamp) AS event_s "
        f"FROM read_parquet([{paths}], union_by_name = true) WHERE use_case = {literal(use_case)} AND len({mode}) > 0) "
        "GROUP BY ALL"
    )
