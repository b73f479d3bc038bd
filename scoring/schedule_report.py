"""How far what runs on a schedule has come, as it travels from each schedule to whoever shows it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from stream.connection import RedisConnection

SCHEDULES = ("drift", "evaluate", "feedback", "recommend", "skew")
"""What may run again and again, by the name of its command."""


def schedule_key(name: str) -> str:
    """The Redis key that holds a schedule's newest report, as JSON."""
    return f"schedule:{name}:report"


class ScheduleReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the newest round ended, `every_s` before the next. `failures` counts the last rounds that failed in a row.

    A round that found nothing to do yet, such as no labels, is no failure; `said` is what came of it, in words.
    """

    name: str
    ended_at: datetime
    every_s: float
    failures: int
    said: str


def publish(connection: RedisConnection, report: ScheduleReport) -> None:
    """Keep a report in Redis as the newest of its schedule."""
    connection.one("SET", schedule_key(report.name), msgspec.json.encode(report))
