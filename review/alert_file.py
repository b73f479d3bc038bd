"""The file that conditions are written in: read whole, or refused with the field, its value and what to do."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from review.alert_condition import LIMIT, Alerts, Condition
from stream.mapping_sources import parse_duration

FILE = Path(__file__).with_name("alerts.toml")
DURATIONS = frozenset({"every", "stale", "repeat", "for", "clear_for", "window", "silent", "long", "short", "before"})
_AT = re.compile(r" - at `\$\.?(.*)`$")

T = TypeVar("T")
Table = dict[str, Any]


class InvalidAlerts(ValueError):
    """The file cannot be used. A retry cannot help."""


class _Fault(ValueError):
    """Which field has which value, and what to give instead."""


def load_alerts(path: Path | str = "") -> Alerts:
    """The conditions of a file; the project's own where none is named. Raises `InvalidAlerts`."""
    where = Path(path) if path else FILE
    try:
        content = tomllib.loads(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        words = f"the alerts {where} cannot be read: {error}; begin with a copy of review/alerts.toml"
        raise InvalidAlerts(words) from None
    try:
        return _alerts(content)
    except _Fault as fault:
        raise InvalidAlerts(f"the alerts {where}: {fault}; review/alerts.toml says what each field is") from None


def _alerts(content: Table) -> Alerts:
    listed = content.get("alerts", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _Fault("field 'alerts' is no list of tables: begin each alert with [[alerts]]")
    if len(listed) > LIMIT:
        raise _Fault(f"field 'alerts' has {len(listed)} of them: give at most {LIMIT}")
    conditions: dict[str, Condition] = {}
    for number, table in enumerate(listed, start=1):
        subject = f"alert {table.get('name', f'number {number}')!r}, "
        condition = _converted(Condition, table, subject)
        if fault := condition.fault():
            field, value, remedy = fault
            raise _Fault(f"{subject}field {field!r} is {value!r}: {remedy}")
        if condition.name in conditions:
            raise _Fault(f"{subject}field 'name' is {condition.name!r}, as another one's: give each its own")
        conditions[condition.name] = condition
    rest = {name: value for name, value in content.items() if name != "alerts"}
    return msgspec.structs.replace(_converted(Alerts, rest, ""), alerts=tuple(conditions.values()))


def _converted(kind: type[T], table: Table, subject: str) -> T:
    try:
        return msgspec.convert(_in_seconds(table, subject), type=kind)
    except msgspec.ValidationError as error:
        found = _AT.search(str(error))
        words = _AT.sub("", str(error))
        if not found:
            raise _Fault(f"{subject}{words}: see the fields of the others") from None
        raise _Fault(f"{subject}field {found[1]!r} is {_value(table, found[1])!r}: {words}") from None


def _in_seconds(table: Table, subject: str, inside: str = "") -> Table:
    """The table with its durations as seconds."""
    written: Table = {}
    for name, value in table.items():
        if isinstance(value, dict):
            written[name] = _in_seconds(value, subject, f"{inside}{name}.")
        elif name in DURATIONS:
            try:
                written[name] = parse_duration(value).total_seconds()
            except (TypeError, ValueError):
                remedy = "give a whole number and s, m, h or d, such as '5m'"
                raise _Fault(f"{subject}field '{inside}{name}' is {value!r}: {remedy}") from None
        else:
            written[name] = value
    return written


def _value(table: Table, path: str) -> object:
    """What the file says there."""
    found: Any = table
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
