"""What a command does again and again, until somebody stops it: one loop for every `--every`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

import click

from headrace.settings import milliseconds
from scoring.schedule_report import ScheduleReport, publish
from stream.connection import RedisConnection, RedisError, RedisUnavailable

RETRY_S = 300.0
"""After a round that failed the next one comes this soon, or after the interval where that is shorter."""
SAID_LIMIT = 500
OWN_WORDS = (click.ClickException, RedisUnavailable, RedisError)
"""Errors whose text is ours and quotes no record; of any other only its class and places are logged."""
PUBLISH_TIMEOUT_MS = 1000.0
_log = logging.getLogger(__name__)


class NotYet(click.ClickException):
    """There is nothing to do yet, such as too few labels. A schedule does not count that as a failure."""


class Stopped(Exception):
    """Somebody wants the schedule to end, in the midst of a round."""


def interval_s(_: object, parameter: object, text: str | None) -> float | None:
    """What `--every` said, in seconds: a callback of click. At least 1 s."""
    if text is None:
        return None
    try:
        found = milliseconds(text) / 1000
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found < 1:
        raise click.BadParameter(f"{text} is too often; give at least 1s")
    return found


every = click.option("--every", "every_s", callback=interval_s, help="again and again, such as 1h, until it is stopped")
"""The option `--every`, which the command receives as `every_s`; None: once."""


def repeat(
    name: str,
    work: Callable[[Callable[[object], None]], str],
    every_s: float,
    stop: Event,
    redis: str = "",
    retry_s: float = RETRY_S,
) -> None:
    """Work now and then every so many seconds, until stopped. Blocks.

    Parameters
    ----------
    name
        Of the schedule, one of `scoring.schedule_report.SCHEDULES`.
    work
        One round. It is given a function to call with anything now and then, which ends the round (by `Stopped`) once
        somebody wants it to end, and it gives back one sentence on what came of it, without ids.
    every_s
        From the end of a round to the next one.
    stop
        Ends the waiting at once, and a round where it next tells how far it is.
    redis
        Where the report of each round goes, for /metrics: its age and how many failed in a row. Empty: nowhere.
    retry_s
        How soon a round that failed is tried again.

    A round that raises is logged and tried again; whatever it had published before stays, and its age grows.
    """

    def go_on(_: object = None) -> None:
        if stop.is_set():
            raise Stopped

    failures = 0
    while not stop.is_set():
        try:
            said = work(go_on)
            failures = 0
            _log.info("%s: %s", name, said)
        except Stopped:
            return
        except NotYet as error:
            said, failures = str(error), 0
            _log.info("%s: %s", name, said)
        except Exception as error:
            failures += 1
            own = isinstance(error, OWN_WORDS)
            said = str(error) if own else type(error).__name__
            _log.warning("%s: %s; %d in a row failed, trying again", name, said, failures, exc_info=not own)
        _tell(
            redis,
            ScheduleReport(
                name=name, ended_at=datetime.now(UTC), every_s=every_s, failures=failures, said=said[:SAID_LIMIT]
            ),
        )
        stop.wait(min(every_s, retry_s) if failures else every_s)


def _tell(redis: str, report: ScheduleReport) -> None:
    """A report that Redis does not take is lost: the age of the one before grows, and that is seen."""
    if not redis:
        return
    try:
        with RedisConnection(redis, PUBLISH_TIMEOUT_MS, PUBLISH_TIMEOUT_MS) as connection:
            publish(connection, report)
    except (RedisUnavailable, RedisError) as error:
        _log.warning("%s: its report went nowhere: %s", report.name, error)
