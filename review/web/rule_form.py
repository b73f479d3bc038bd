"""What the forms of the rules' pages send: read once, refused with the field's name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from review.rule_desk import RuleRefused
from review.rule_facts import ACTIONS, Fault, RuleText

LIVES = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year"), (0, "for ever"))
PERIODS = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year"), (0, "all there is"))
SNOOZES_H = ((4, "4 hours"), (24, "a day"), (72, "3 days"), (168, "a week"), (720, "30 days"))
WHEN_LIMIT, WORDS_LIMIT = 2000, 500
DAYS_LIMIT = 3660

Form = Mapping[str, str]


class Place(NamedTuple):
    """Where a fault is in a text as it was written: line and column from 1, and the text around it."""

    line: int
    column: int
    before: str
    at: str
    after: str


def one_line(text: str) -> str:
    """A condition as the language wants it, one line; each character stays in its place.

    >>> one_line("a > 1\\nand b > 2")
    'a > 1 and b > 2'
    """
    return text.replace("\r\n", "\n").replace("\n", " ").replace("\r", " ").replace("\t", " ")


def place_of(text: str, fault: Fault) -> Place:
    """Where a fault is.

    >>> place_of("a > 1\\nand bb > 2", Fault(10, ""))
    Place(line=2, column=5, before='and ', at='bb', after=' > 2')
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    at = min(max(fault.column, 0), len(text))
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    stop = at
    while stop < end and (text[stop].isalnum() or text[stop] == "_"):
        stop += 1
    stop = max(stop, min(at + 1, end))
    return Place(text.count("\n", 0, at) + 1, at - start + 1, text[start:at], text[at:stop], text[stop:end])


def rule_text(form: Form, name: str = "") -> RuleText:
    """The rule of a form; its name where that is not the form's to choose. Raises `RuleRefused`."""
    action = form.get("action", "")
    if action not in ACTIONS:
        raise RuleRefused(f"{action[:40]!r} is no action; choose {', '.join(ACTIONS)}")
    when = one_line(form.get("when", "")).strip()
    if not when:
        raise RuleRefused("a rule needs a condition", Fault(0, "write a condition, such as amount > 500"))
    return RuleText(
        name=name or form.get("name", "").strip(),
        when=when,
        action=action,
        because=one_line(form.get("because", "")).strip()[:WORDS_LIMIT],
        priority=int(_number(form.get("priority", "") or "0", "a priority", -10_000, 10_000)),
        add=_number(form.get("add", ""), "what a rule adds to the score", -1.0, 1.0) if action == "add" else None,
        tag=form.get("tag", "").strip() if action == "tag" else None,
    )


def why_in(form: Form) -> str:
    """The reason somebody gives, one line."""
    return " ".join(form.get("why", "").split())[:WORDS_LIMIT]


def whole(form: Form, name: str, most: int) -> int:
    """A whole number from 0 on. Raises `RuleRefused`."""
    text = form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise RuleRefused(f"{text[:40]!r} is no number of {name}; give 0 to {most:,}")
    return int(text)


def until_in(form: Form, name: str, now: datetime) -> datetime | None:
    """The end of so many days from now; None, for ever, for 0."""
    days = whole(form, name, DAYS_LIMIT)
    return now + timedelta(days=days) if days else None


def period_in(form: Form, now: datetime) -> tuple[datetime | None, datetime | None, str]:
    """From and until when a backtest looks, and that in words. Raises `RuleRefused`."""
    since, until = _day(form.get("from", "")), _day(form.get("to", ""))
    if since is not None or until is not None:
        if since is not None and until is not None and since > until:
            raise RuleRefused("the period ends before it begins")
        words = " ".join(f"{word} {day:%Y-%m-%d}" for word, day in (("from", since), ("to", until)) if day is not None)
        return since, None if until is None else until + timedelta(days=1), words
    days = whole(form, "days", DAYS_LIMIT) if form.get("days") else 30
    return (now - timedelta(days=days), None, f"last {days} days") if days else (None, None, "all there is")


def _day(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        day = datetime.strptime(text.strip()[:10], "%Y-%m-%d").replace(tzinfo=UTC)
        return day + timedelta(days=1) - timedelta(days=1)  # The last day there is has none after it.
    except (ValueError, OverflowError):
        raise RuleRefused(f"{text[:20]!r} is no day; write it as 2026-01-31") from None


def _number(text: str, what: str, least: float, most: float) -> float:
    try:
        number = float(text.strip().replace(",", ".")[:20])
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise RuleRefused(f"{what} is a number from {least:g} to {most:g}, not {text[:20]!r}")
    return number
