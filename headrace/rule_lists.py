"""What the `rules lists` and `rules snooze` commands do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from headrace.rule_tables import print_json, print_tables, shown, table_of
from headrace.rules import EVER, do, open_book, until_of
from headrace.settings import Settings
from scoring.rule_steps import Listed, Snoozed, Unlisted, Woken


def print_lists(settings: Settings, name: str | None, as_json: bool) -> None:
    """What is on the lists."""
    now_s = datetime.now(UTC).timestamp()
    with open_book(settings) as log:
        rows = [
            (ref.list, ref.field, value, _time(until_s))
            for ref, values in sorted(log.book.entries.items())
            for value, until_s in sorted(values.items())
            if until_s > now_s and name in (None, ref.list)
        ]
    _print_rows("lists", ("list", "field", "value", "until"), rows, as_json)


def list_values(
    settings: Settings, name: str, field: str, values: tuple[str, ...], lifetime: str, by: str, why: str
) -> None:
    """Append that values are on a list."""
    now = datetime.now(UTC)
    with open_book(settings) as log:
        step = Listed(at=now, by=by, why=why, list=name, field=field, values=values, until=until_of(lifetime, now))
        do(log, step, f"{len(values)} of {field} on list {name!r}")


def unlist_values(settings: Settings, name: str, field: str, values: tuple[str, ...], by: str, why: str) -> None:
    """Append that values are off a list."""
    with open_book(settings) as log:
        step = Unlisted(at=datetime.now(UTC), by=by, why=why, list=name, field=field, values=values)
        do(log, step, f"{len(values)} of {field} off list {name!r}")


def print_snoozes(settings: Settings, as_json: bool) -> None:
    """Which rules are silent for whom."""
    now_s = datetime.now(UTC).timestamp()
    with open_book(settings) as log:
        rows = [
            (rule, field, value, _time(until_s))
            for rule, values in sorted(log.book.snoozes.items())
            for (field, value), until_s in sorted(values.items())
            if until_s > now_s
        ]
    _print_rows("snoozes", ("rule", "field", "value", "until"), rows, as_json)


def snooze_rule(settings: Settings, name: str, field: str, value: str, lifetime: str, by: str, why: str) -> None:
    """Append that a rule is silent for an entity."""
    now = datetime.now(UTC)
    until = until_of(lifetime, now)
    if until is None:
        raise click.UsageError("a snooze ends: give --for a time; to silence a rule for ever, expire it")
    with open_book(settings) as log:
        step = Snoozed(at=now, by=by, why=why, name=name, field=field, value=value, until=until)
        do(log, step, f"rule {name!r} is silent for {field} {value!r} until {until:%Y-%m-%d %H:%M} UTC")


def wake_rule(settings: Settings, name: str, field: str, value: str, by: str, why: str) -> None:
    """Append that a snooze has ended."""
    with open_book(settings) as log:
        step = Woken(at=datetime.now(UTC), by=by, why=why, name=name, field=field, value=value)
        do(log, step, f"rule {name!r} is heard again for {field} {value!r}")


def _print_rows(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], as_json: bool) -> None:
    if as_json:
        print_json([dict(zip(headings, row, strict=True)) for row in rows])
        return
    table = table_of(title, headings)
    for row in rows:
        table.add_row(*map(shown, row))
    print_tables(table)


def _time(until_s: float) -> str:
    return EVER if until_s == float("inf") else datetime.fromtimestamp(until_s, UTC).isoformat(timespec="seconds")
