"""Rules, steps and backtests as tables for a terminal."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoring.rule_book import Written
from scoring.rule_report import RuleReport
from scoring.rule_steps import (
    Answered,
    Approved,
    Backtested,
    Drafted,
    Listed,
    ListStep,
    Snoozed,
    Step,
    Unlisted,
    Woken,
)
from scoring.rules import Rule

RULE_HEADINGS = ("rule", "stage", "revision", "action", "priority", "when", "by", "approved by", "until")
STEP_HEADINGS = ("version", "at", "by", "step", "of", "what", "why")


def printable(text: str) -> str:
    """The text with nothing that a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown(text: str) -> Text:
    """The text for a table: no markup obeyed either."""
    return Text(printable(text))


def table_of(title: str, headings: tuple[str, ...]) -> Table:
    """An empty table."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        # What a person types again must stay in one piece.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("rule", "stage", "action", "list", "of"))
    return table


def print_tables(*tables: Table) -> None:
    """Print tables; a pipe gets whole rows."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in tables:
        console.print(table)


def print_json(content: Any) -> None:
    """Any structs, as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(content)).decode())


def rule_row(one: Written | None, stage: str) -> tuple[str, ...]:
    """A rule in the list; the headings for None."""
    if one is None:
        return RULE_HEADINGS
    rule = one.rule
    until = "" if one.expires_at is None else f"{one.expires_at:%Y-%m-%d %H:%M}"
    cells = (rule.name, stage, str(one.revision), _action(rule), str(rule.priority))
    return (*cells, rule.when, one.author, one.approved_by, until)


def rule_facts(one: Written, stage: str) -> dict[str, Any]:
    """All that is known of one revision, for people and for JSON."""
    rule = one.rule
    return {
        "rule": rule.name,
        "stage": stage,
        "revision": one.revision,
        "when": rule.when,
        "action": _action(rule),
        "priority": rule.priority,
        "because": rule.because,
        "author": one.author,
        "written at": one.at,
        "approved by": one.approved_by,
        "expires at": one.expires_at,
        "report": one.report,
    }


def step_row(version: int, step: Step | None, refused: str | None) -> tuple[str, ...]:
    """A step in the history; the headings for version 0."""
    if not version:
        return STEP_HEADINGS
    if step is None:
        return (str(version), "", "", "unknown to this release")
    kind = str(step.__struct_config__.tag)
    of = step.list if isinstance(step, ListStep) else step.name
    what = _what(step) if refused is None else f"not followed: {refused}"
    return (str(version), f"{step.at:%Y-%m-%d %H:%M:%S}", step.by, kind, of, what, step.why)


def _what(step: Step) -> str:
    match step:
        case Drafted(rule=rule, revision=revision):
            return f"{revision}: {_action(rule)} when {rule.when}"
        case Backtested(revision=revision, report=report):
            return f"{revision}: fired {report.fired:,} of {report.decisions:,}, precision {_share(report.precision)}"
        case Approved(revision=revision, expires_at=expires_at):
            return f"{revision}: until {'ever' if expires_at is None else expires_at.isoformat(timespec='seconds')}"
        case Listed(field=field, values=values, until=until):
            end = "ever" if until is None else until.isoformat(timespec="seconds")
            return f"{_waits(step)}{field} {', '.join(values)} until {end}"
        case Unlisted(field=field, values=values):
            return f"{_waits(step)}{field} {', '.join(values)}"
        case Answered(version=version, agreed=agreed):
            return f"{'agrees to' if agreed else 'refuses'} step {version}"
        case Snoozed(field=field, value=value, until=until):
            return f"{field} {value} until {until.isoformat(timespec='seconds')}"
        case Woken(field=field, value=value):
            return f"{field} {value}"
    return str(getattr(step, "revision", ""))


def _waits(step: Listed | Unlisted) -> str:
    return "waits for another person: " if step.waits else ""


def report_tables(report: RuleReport) -> list[Table]:
    """A backtest: its figures, and how the rule lies to outcomes and to other rules."""
    days = report.label_delay_s / 86_400
    title = f"rule {report.name!r}, revision {report.revision}, on {report.decisions:,} decisions older than {days:g} d"
    figures = table_of(title, ("what", "figure"))
    rows = {
        "from": "" if report.since is None else f"{report.since:%Y-%m-%d %H:%M}",
        "to": "" if report.until is None else f"{report.until:%Y-%m-%d %H:%M}",
        "fired": f"{report.fired:,} ({_share(report.fired_rate)})",
        "… fraud, legit, without a verdict": f"{report.fraud:,}, {report.legit:,}, {report.unlabelled:,}",
        "precision": _share(report.precision),
        "share of all known frauds": _share(report.recall),
        "outcomes it would change": f"{report.changed:,}",
        "money saved": _money(report.saved),
        "money harmed": _money(report.harmed),
        "left out: too young": f"{report.immature:,}",
        "left out: other features": f"{report.other_definition:,}",
    }
    for what, figure in rows.items():
        figures.add_row(what, shown(figure))
    overlap = table_of("where it fires, too", ("outcome or rule", "decisions", "both", "of this rule", "of the other"))
    others = {f"outcome {name}": one for name, one in report.outcomes.items()}
    for name, one in (others | {f"rule {name}": one for name, one in report.rules.items()}).items():
        shares = (_share(one.both / whole if whole else None) for whole in (report.fired, one.decisions))
        overlap.add_row(shown(name), f"{one.decisions:,}", f"{one.both:,}", *shares)
    return [figures, overlap]


def _action(rule: Rule) -> str:
    if rule.add is not None:
        return f"add {rule.add:+g}"
    return f"tag {rule.tag}" if rule.tag is not None else rule.action


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.2%}"


def _money(money: dict[str, float]) -> str:
    return ", ".join(f"{amount:,.2f} {currency}" for currency, amount in money.items()) or "nothing"
