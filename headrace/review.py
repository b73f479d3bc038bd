"""What the `review` commands do, and what a demo says of the queue."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click

from headrace.assembly import open_log
from headrace.process_metrics import watched
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from review.case import Case
from review.case_store import CaseStore, CasesUnavailable
from review.engine import InvalidStoreUrl
from review.queue_keeper import GROUP, TOPIC, forward_labels, keep_forever
from review.refusals import Refused
from review.review_policy import InvalidReviewPolicy, load_policy
from review.schema import NewerFile
from stream.log import LogFull, LogUnavailable, lag
from stream.patience import Patience
from stream.records import Verdict

FILE = "review.sqlite"
REASONS_SHOWN = 3
PAUSE_LIMIT_S = 5.0
_log = logging.getLogger(__name__)


def run_keeper(settings: Settings, stop: Event) -> None:
    """Keep the queue until stopped."""
    settings.home.mkdir(parents=True, exist_ok=True)
    log = open_log_when_up(settings, stop)
    if log is not None:
        store = _open_when_up(settings, stop)
        if store is None:
            log.close()
            return
        with closing(store), closing(log), watched(settings, log) as log:
            keep_forever(store, log, stop)


def print_queue(settings: Settings, limit: int) -> None:
    """The first cases of the queue as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with closing(_existing_store(settings)) as store:
        cases, waiting = store.queue(limit, now=datetime.now(UTC)), store.open_count()
    table = Table(title=f"{len(cases):,} of {waiting:,} open cases, by expected loss and time left")
    for heading in ("case", "opened", "due", "entity", "outcome", "score", "amount", "expected loss", "events", "why"):
        table.add_column(heading, overflow="fold")
    for case in cases:
        # As text: whoever sends transactions chooses these words, and neither markup nor a terminal may obey them.
        table.add_row(*(Text(_printable(cell)) for cell in _row(case)))
    # A pipe gets whole rows: nothing to fold for.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def decide_case(settings: Settings, case_id: str, verdict: Verdict, by: str) -> None:
    """Give a verdict and let its labels out; where the log cannot be reached they wait in the outbox for the keeper."""
    with closing(_existing_store(settings)) as store:
        try:
            labels = store.decide(case_id, verdict, by, datetime.now(UTC))
        except Refused as error:
            raise click.ClickException(str(error)) from None
        click.echo(_said(store.case(case_id), verdict, len(labels)))
        try:
            if not settings.redis and not settings.kafka:
                raise LogUnavailable("no --redis and no --kafka given")
            with closing(open_log(settings)) as log:
                forward_labels(store, log)
        except (LogUnavailable, LogFull) as error:
            click.echo(f"kept for 'headrace review keep' to send: {error}", err=True)


def place_of(settings: Settings) -> Path | str:
    """Where the cases are: a database by its URL, or the file in the home."""
    return str(settings.cases) or settings.home / FILE


def open_store(settings: Settings) -> CaseStore:
    """The cases, under the policy of these settings; made where there are none.

    Raises `CasesUnavailable` and `NewerFile`; mistakes in the settings are `click.ClickException`.
    """
    try:
        return CaseStore(place_of(settings), policy=load_policy(settings.review_policy))
    except (InvalidReviewPolicy, InvalidStoreUrl) as error:
        raise click.ClickException(str(error)) from None


def store_of_command(settings: Settings) -> CaseStore:
    """The cases, for a command that waits for nothing. Raises `click.ClickException`."""
    try:
        return open_store(settings)
    except (CasesUnavailable, NewerFile) as error:
        raise click.ClickException(str(error)) from None


def has_cases(settings: Settings) -> bool:
    """Whether there is anything to open."""
    place = place_of(settings)
    return not isinstance(place, Path) or place.exists()


def open_cases(settings: Settings) -> int:
    """How many cases wait; 0 where no keeper has run."""
    if not has_cases(settings):
        return 0
    with closing(store_of_command(settings)) as store:
        return store.open_count()


def settled_cases(settings: Settings, timeout_s: float) -> int:
    """How many cases are open once the keeper has taken in every decision, or after `timeout_s`."""
    until = time.monotonic() + timeout_s
    with closing(open_log(settings)) as log:
        while any(lag(log, GROUP, TOPIC).values()) and time.monotonic() < until:
            time.sleep(0.1)
    return open_cases(settings)


def _open_when_up(settings: Settings, stop: Event) -> CaseStore | None:
    """The cases, ranked by this policy, as soon as their database can be used; None if told to stop before that.

    One that a newer version wrote is waited for too: were the keeper to end, `headrace up` would end with it. What it
    would take in stays on the log.
    """
    patience = Patience(stop, _log, "review", PAUSE_LIMIT_S)
    while not stop.is_set():
        with ExitStack() as opened:
            try:
                store = opened.enter_context(closing(open_store(settings)))
                if moved := store.rank_anew():
                    click.echo(f"{moved:,} waiting cases have new places in the queue, by the review policy")
                opened.pop_all()
                return store
            except (CasesUnavailable, NewerFile) as error:
                patience.wait(error)
    return None


def _existing_store(settings: Settings) -> CaseStore:
    if not has_cases(settings):
        raise click.ClickException(f"no cases are kept in {settings.home}; run 'headrace review keep', or give --home")
    return store_of_command(settings)


def _said(case: Case, verdict: Verdict, labels: int) -> str:
    if case.status == "proposed":
        return f"case {case.case_id}: {verdict} is proposed; another person must agree"
    if case.status == "open":
        return f"case {case.case_id} is open again: you disagree with what was proposed"
    count = f"{labels} label{'' if labels == 1 else 's'}"
    return f"case {case.case_id} is {verdict}: {count if labels else 'as before, no new labels'}"


def _row(case: Case) -> tuple[str, ...]:
    why = [*case.rules, *(reason.text for reason in case.reasons)]
    return (
        case.case_id,
        f"{case.opened_at:%Y-%m-%d %H:%M}",
        f"{case.due_at:%Y-%m-%d %H:%M}",
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
