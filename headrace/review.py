"""What the `review` commands do, and what a demo says of the queue."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click

from headrace.assembly import open_log
from headrace.process_metrics import watched
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from review.case import Case
from review.case_store import CaseStore
from review.queue_keeper import GROUP, TOPIC, forward_labels, keep_forever
from stream.log import LogFull, LogUnavailable, lag
from stream.records import Verdict

FILE = "review.sqlite"
REASONS_SHOWN = 3


def run_keeper(settings: Settings, stop: Event) -> None:
    """Keep the queue until stopped."""
    settings.home.mkdir(parents=True, exist_ok=True)
    log = open_log_when_up(settings, stop)
    if log is not None:
        with closing(CaseStore(settings.home / FILE)) as store, closing(log), watched(settings, log) as log:
            keep_forever(store, log, stop)


def print_queue(settings: Settings, limit: int) -> None:
    """The first cases of the queue as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with closing(_existing_store(settings)) as store:
        cases, waiting = store.queue(limit), store.open_count()
    table = Table(title=f"{len(cases):,} of {waiting:,} open cases, the greatest expected loss first")
    for heading in ("case", "opened", "entity", "outcome", "score", "amount", "expected loss", "events", "why"):
        table.add_column(heading, overflow="fold")
    for case in cases:
        # As text: whoever sends transactions chooses these words, and neither markup nor a terminal may obey them.
        table.add_row(*(Text(_printable(cell)) for cell in _row(case)))
    # A pipe gets whole rows: nothing to fold for.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def decide_case(settings: Settings, case_id: str, verdict: Verdict, by: str) -> None:
    """Give a verdict and let its labels out; where the log cannot be reached they wait in the outbox for the keeper."""
    with closing(_existing_store(settings)) as store:
        labels = store.decide(case_id, verdict, by, datetime.now(UTC))
        count = f"{len(labels)} label{'' if len(labels) == 1 else 's'}"
        click.echo(f"case {case_id} is {verdict}: {count if labels else 'as before, no new labels'}")
        try:
            if not settings.redis and not settings.kafka:
                raise LogUnavailable("no --redis and no --kafka given")
            with closing(open_log(settings)) as log:
                forward_labels(store, log)
        except (LogUnavailable, LogFull) as error:
            click.echo(f"kept for 'headrace review keep' to send: {error}", err=True)


def open_cases(home: Path) -> int:
    """How many cases wait in this home; 0 where no keeper has run."""
    if not (home / FILE).exists():
        return 0
    with closing(CaseStore(home / FILE)) as store:
        return store.open_count()


def settled_cases(settings: Settings, timeout_s: float) -> int:
    """How many cases are open once the keeper has taken in every decision, or after `timeout_s`."""
    until = time.monotonic() + timeout_s
    with closing(open_log(settings)) as log:
        while any(lag(log, GROUP, TOPIC).values()) and time.monotonic() < until:
            time.sleep(0.1)
    return open_cases(settings.home)


def _existing_store(settings: Settings) -> CaseStore:
    path = settings.home / FILE
    if not path.exists():
        raise click.ClickException(f"no cases are kept in {settings.home}; run 'headrace review keep', or give --home")
    return CaseStore(path)


def _row(case: Case) -> tuple[str, ...]:
    why = [*case.rules, *(reason.text for reason in case.reasons)]
    return (
        case.case_id,
        f"{case.opened_at:%Y-%m-%d %H:%M}",
        case.entity,
        case.outcome,
        f"{case.score:.3f}",
        f"{case.amount:,.2f} {case.currency}",
        f"{case.expected_loss:,.2f}",
        str(len(case.events)),
        "; ".join(why[:REASONS_SHOWN]),
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
