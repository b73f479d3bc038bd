"""What the `rules` commands do: steps of the rule book, and backtests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from features.duration import duration_us
from features.expression import parse
from headrace.assembly import open_rule_log
from headrace.rule_tables import (
    print_json,
    print_tables,
    printable,
    report_tables,
    rule_facts,
    rule_row,
    shown,
    step_row,
    table_of,
)
from headrace.running import none_named
from headrace.settings import Settings
from scoring.rule_book import Name, Written
from scoring.rule_log import RuleLog
from scoring.rule_steps import (
    Approved,
    Backtested,
    Drafted,
    Expired,
    ListStep,
    Shadowed,
    Step,
)
from scoring.rules import LISTS, Rule
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.connection import RedisError
from stream.records import Outcome, Transaction

EVER = "ever"


@contextmanager
def open_book(settings: Settings) -> Iterator[RuleLog]:
    """The rule book as it is now."""
    if not settings.redis:
        raise click.ClickException(none_named(settings, "the rule book is in Redis"))
    log = open_rule_log(settings, FRAUD)
    try:
        log.read()
        yield log
    except RedisError as error:
        raise click.ClickException(f"Redis says {error}") from error
    finally:
        log.connection.close()


def do(log: RuleLog, step: Step, said: str) -> None:
    """Append a step and say so."""
    version = log.append(step)
    click.echo(f"{said} (version {version} of the rule book)")


def print_rules(settings: Settings, with_ended: bool, as_json: bool) -> None:
    """The rules as a table, or as JSON; those that have ended only if asked for."""
    now = datetime.now(UTC)
    with open_book(settings) as log:
        rows = [
            (one, "expired" if one.stage == "live" and one.ended(now) else one.stage)
            for name in sorted(log.book.names)
            for one in (log.book.names[name].live, log.book.names[name].next)
            if one is not None
        ]
        ended = [name for name, one in sorted(log.book.names.items()) if one.live is None and one.next is None]
        version = log.book.version
    rows = [row for row in rows if with_ended or row[1] != "expired"]
    if as_json:
        print_json([rule_facts(one, stage) for one, stage in rows])
        return
    table = table_of(f"version {version} of the rule book", rule_row(None, ""))
    for one, stage in rows:
        table.add_row(*map(shown, rule_row(one, stage)))
    for name in ended if with_ended else ():
        table.add_row(shown(name), shown("expired"))
    print_tables(table)


def print_rule(settings: Settings, name: str, as_json: bool) -> None:
    """All that is known of one rule."""
    now = datetime.now(UTC)
    with open_book(settings) as log:
        known = _known(log, name)
        snoozes = log.book.snoozes.get(name, {})
    found = [one for one in (known.live, known.next) if one is not None]
    facts = [rule_facts(one, "expired" if one.stage == "live" and one.ended(now) else one.stage) for one in found]
    if as_json:
        print_json(facts)
        return
    if not found:
        click.echo(f"{name} has ended; 'headrace rules history {name}' says how")
    for one, fact in zip(found, facts, strict=True):
        for key, value in fact.items():
            if key != "report" and value not in (None, ""):
                click.echo(f"{key:<14}{printable(str(value))}")
        if one.report is not None:
            print_tables(*report_tables(one.report))
    for (field, value), until_s in snoozes.items():
        if until_s > now.timestamp():
            click.echo(
                f"silent for {field} {printable(value)} until {datetime.fromtimestamp(until_s, UTC):%Y-%m-%d %H:%M}"
            )


def check_condition(settings: Settings, when: str, sql: bool) -> None:
    """Say what a condition reads, or where it is wrong."""
    lists = list(LISTS)
    if settings.redis:
        with open_book(settings) as log:
            lists = log.book.lists
    expression = parse(when, FRAUD.features.kinds, "boolean", lists)
    click.echo(f"understood; it reads {', '.join(sorted(expression.names)) or 'nothing'}")
    if sql:
        from scoring.rule_backtest import columns_of, list_templates

        click.echo(expression.sql(columns_of(FRAUD.features), list_templates(expression.lists)))


def add_rule(settings: Settings, by: str, why: str, fields: dict[str, Any]) -> None:
    """Append a draft."""
    rule = msgspec.convert({name: value for name, value in fields.items() if value is not None}, Rule)
    with open_book(settings) as log:
        known = log.book.names.get(rule.name, Name())
        step = Drafted(at=datetime.now(UTC), by=by, why=why, rule=rule, revision=known.newest + 1)
        do(log, step, f"revision {step.revision} of rule {rule.name!r} is a draft; next: headrace rules backtest")


def backtest_rule(
    settings: Settings,
    since: datetime | None,
    until: datetime | None,
    lists_now: bool,
    name: str,
    by: str,
    json_file: Path | None,
) -> None:
    """Try a rule, show what was found, and note it in the book where it is a rule that is to go live."""
    from scoring.rule_backtest import backtest

    now = datetime.now(UTC)
    with open_book(settings) as log:
        known = _known(log, name)
        written = known.next or known.live
        if written is None:
            raise click.ClickException(f"rule {name!r} has ended; write it again with 'headrace rules add'")
        with Console(stderr=True).status("trying it on the archive"):
            report = backtest(
                written,
                log.book,
                (step for _, step in log.steps()),
                Archive(settings.home / "archive"),
                FRAUD.features,
                chooser(),
                label_delay=timedelta(milliseconds=settings.label_delay),
                since=None if since is None else since.replace(tzinfo=UTC),
                until=None if until is None else until.replace(tzinfo=UTC),
                lists_at=now if lists_now else None,
            )
        print_tables(*report_tables(report))
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        if known.next is not None:
            step = Backtested(at=now, by=by, name=name, revision=written.revision, report=report)
            do(log, step, f"revision {written.revision} of rule {name!r} is backtested")


def chooser() -> Any:
    """The policy's cheapest outcome, with as many analysts as it takes, and nothing let through."""
    from scoring.policy_budget import OwnBudget
    from scoring.policy_costs import LetThrough
    from scoring.policy_file import load_policy

    # The key makes the draws of who is let through; here nobody is.
    policy = load_policy(FRAUD.policy, FRAUD.source, key="backtest")
    policy.let_through, policy.budget = LetThrough(), OwnBudget(None)

    def choose(record: Transaction, score: float) -> Outcome:
        return policy.choose(record, score).outcome

    return choose


def shadow_rule(settings: Settings, name: str, by: str, why: str) -> None:
    """Append that a rule is in shadow."""
    with open_book(settings) as log:
        step = Shadowed(at=datetime.now(UTC), by=by, why=why, name=name, revision=_next(log, name).revision)
        do(log, step, f"revision {step.revision} of rule {name!r} is in shadow; another person may approve it")


def approve_rule(settings: Settings, name: str, revision: int | None, lifetime: str, by: str, why: str) -> None:
    """Append that a rule is live."""
    now = datetime.now(UTC)
    with open_book(settings) as log:
        written = _next(log, name)
        step = Approved(
            at=now,
            by=by,
            why=why,
            name=name,
            revision=written.revision if revision is None else revision,
            expires_at=until_of(lifetime, now),
        )
        end = "for ever" if step.expires_at is None else f"until {step.expires_at:%Y-%m-%d %H:%M} UTC"
        do(log, step, f"revision {step.revision} of rule {name!r} is live {end}: {written.rule.when}")


def expire_rule(settings: Settings, name: str, by: str, why: str) -> None:
    """Append that a rule has ended."""
    with open_book(settings) as log:
        do(log, Expired(at=datetime.now(UTC), by=by, why=why, name=name), f"rule {name!r} has ended")


def print_history(settings: Settings, name: str | None, as_json: bool) -> None:
    """Every step, or those of one rule or list."""
    with open_book(settings) as log:
        steps, refused = list(log.steps()), log.problems
    wanted = [(version, step) for version, step in steps if step is None or name in (None, _subject(step))]
    if as_json:
        print_json([{"version": version, "step": step, "refused": refused.get(version)} for version, step in wanted])
        return
    table = table_of("the rule book, every step", step_row(0, None, None))
    for version, step in wanted:
        table.add_row(*map(shown, step_row(version, step, refused.get(version))))
    print_tables(table)


def _subject(step: Step) -> str:
    return step.list if isinstance(step, ListStep) else step.name


def until_of(lifetime: str, now: datetime) -> datetime | None:
    """The end of a lifetime such as `7d`; None for `ever`."""
    return None if lifetime == EVER else now + timedelta(microseconds=duration_us(lifetime))


def _known(log: RuleLog, name: str) -> Name:
    found = log.book.names.get(name)
    if found is None:
        raise click.ClickException(f"there is no rule {name!r}; there is {', '.join(sorted(log.book.names))}")
    return found


def _next(log: RuleLog, name: str) -> Written:
    found = _known(log, name).next
    if found is None:
        raise click.ClickException(f"rule {name!r} has no draft; write one with 'headrace rules add'")
    return found
