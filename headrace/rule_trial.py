"""One backtest for the pages: in DuckDB, on a thread of its own, bounded in time and memory, to be cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import NamedTuple

import duckdb

from review.rule_desk import RuleRefused
from review.rule_facts import Day, Findings, Hit, Overlap, Report
from scoring.rule_backtest import EmptyArchive
from scoring.rule_hits import fired_amounts, fired_days, fired_sample
from scoring.rule_report import RuleReport
from scoring.rules import InvalidRule

THREADS = 2
SAMPLE_OF_EACH = 8
LOOK_S = 0.1
DAY_S = 86_400

Try = Callable[[duckdb.DuckDBPyConnection, Callable[[], None]], RuleReport]
"""Backtests in a database; what it is given raises `Cancelled` where it should end."""
Keep = Callable[[RuleReport], bool]
"""Notes the figures in the book; whether that was done."""


class Cancelled(Exception):
    """Somebody, or the time limit, ended it."""


class TrialBounds(NamedTuple):
    """How long one backtest may take, and how much memory; what does not fit is put on disk, or refused."""

    time_limit_s: float = 120.0
    memory_bytes: int = 1 << 30


USUAL = TrialBounds()


class ArchiveTrial:
    """A `review.rule_desk.Trial` over the archive."""

    def __init__(self, attempt: Try, keep: Keep | None, bounds: TrialBounds = USUAL) -> None:
        self._attempt = attempt
        self._keep = keep
        self._time_limit_s = bounds.time_limit_s
        self._memory_bytes = bounds.memory_bytes
        self._database: duckdb.DuckDBPyConnection | None = None
        self._cancelled = Event()
        self._late = Event()
        self._done = Event()

    def run(self) -> Findings:
        """Try it. Raises `RuleRefused`, also where it was cancelled or took too long."""
        config = {"threads": THREADS, "memory_limit": f"{self._memory_bytes}B"}
        with duckdb.connect(":memory:", config=config) as database:  # type: ignore[arg-type]
            database.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
            self._database = database
            guard = Thread(target=self._watch, name="backtest-watch", daemon=True)
            guard.start()
            try:
                self._go_on()
                findings = self._found(database)
                self._go_on()
            except (Cancelled, duckdb.InterruptException):
                raise RuleRefused(self._why_ended()) from None
            except (EmptyArchive, InvalidRule) as error:
                raise RuleRefused(str(error).splitlines()[0]) from None
            except duckdb.Error as error:
                raise RuleRefused(f"the archive cannot be asked: {str(error).splitlines()[0][:300]}") from error
            finally:
                self._done.set()
                guard.join()
                self._database = None
        return findings

    def cancel(self) -> None:
        """End it soon."""
        self._cancelled.set()

    def progress(self) -> float | None:
        """The share of the present query; the first takes most of the time."""
        database = self._database
        if database is None or self._done.is_set():
            return None
        try:
            percent = float(database.query_progress())
        except duckdb.Error:
            return None
        return percent / 100 if 0.0 <= percent <= 100.0 else None

    def _found(self, database: duckdb.DuckDBPyConnection) -> Findings:
        report = self._attempt(database, self._go_on)
        days = tuple(Day(*day) for day in fired_days(database))
        amounts = tuple(tuple(one) for one in fired_amounts(database))
        hits = tuple(Hit(*one) for one in fired_sample(database, SAMPLE_OF_EACH))  # type: ignore[arg-type]
        self._go_on()
        kept = self._keep is not None and self._keep(report)
        return Findings(report=report_of(report), days=days, hits=hits, amounts=amounts, kept=kept)  # type: ignore[arg-type]

    def _go_on(self) -> None:
        if self._cancelled.is_set() or self._late.is_set():
            raise Cancelled

    def _watch(self) -> None:
        """Interrupt whatever query runs, again and again: between two of them an interruption is not heard."""
        until = time.monotonic() + self._time_limit_s
        while not self._done.wait(LOOK_S):
            if time.monotonic() > until:
                self._late.set()
            database = self._database
            if database is not None and (self._cancelled.is_set() or self._late.is_set()):
                database.interrupt()

    def _why_ended(self) -> str:
        if self._cancelled.is_set():
            return "the backtest was cancelled"
        remedy = "choose a shorter period, or have HEADRACE_BACKTEST_TIME raised"
        return f"the backtest took more than {self._time_limit_s:g} s and was ended; {remedy}"


def report_of(report: RuleReport) -> Report:
    """The figures as the pages know them."""
    return Report(
        since=report.since,
        until=report.until,
        label_delay_days=report.label_delay_s / DAY_S,
        decisions=report.decisions,
        immature=report.immature,
        other_definition=report.other_definition,
        fired=report.fired,
        fraud=report.fraud,
        legit=report.legit,
        unlabelled=report.unlabelled,
        frauds=report.frauds,
        changed=report.changed,
        saved=report.saved,
        harmed=report.harmed,
        outcomes=tuple(Overlap(name, one.decisions, one.both) for name, one in report.outcomes.items()),
        rules=tuple(Overlap(name, one.decisions, one.both) for name, one in report.rules.items()),
    )
