"""A filter as it stands in an address: each page of the queue can be kept, shared and gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from review.case import Place
from review.case_filter import ME, QueueFilter

PAGE = 50
LONGEST_PAGE = 500
TEXT_LIMIT = 128
EVERYTHING = QueueFilter()
NAMES = tuple(field.name for field in msgspec.structs.fields(QueueFilter))

BUILT_IN: tuple[tuple[str, QueueFilter], ...] = (
    ("All open", EVERYTHING),
    ("Mine", QueueFilter(claimed="mine")),
    ("For me", QueueFilter(assigned_to=ME)),
    ("Overdue", QueueFilter(overdue=True)),
    ("Declined", QueueFilter(outcome="decline")),
    ("Snoozed", QueueFilter(status="snoozed")),
    ("Second look", QueueFilter(status="proposed")),
    ("Decided", QueueFilter(status="decided")),
)
"""What everybody finds above the queue."""


class InvalidFilter(ValueError):
    """The address names a filter that there is not. The words are for the person who typed it."""


class Asked(NamedTuple):
    """What an address asks of the queue: which cases, after which, and how many."""

    filter: QueueFilter
    after: Place | None
    limit: int


def asked(parameters: Mapping[str, str]) -> Asked:
    """Read an address's parameters; what is empty is not there. Raises `InvalidFilter`."""
    fields = {name: parameters[name].strip()[:TEXT_LIMIT] for name in NAMES if parameters.get(name, "").strip()}
    try:
        filter = msgspec.convert(fields, QueueFilter, strict=False)
    except msgspec.ValidationError as error:
        given = ", ".join(f"{name} {value!r}" for name, value in fields.items())
        raise InvalidFilter(f"No case can be found by {given}: {error}. All open cases are shown.") from None
    try:
        after = Place.read(parameters["after"]) if parameters.get("after") else None
        shown = int(parameters.get("shown") or PAGE)
    except ValueError as error:
        raise InvalidFilter(f"That page is not there: {error}. The first one is shown.") from None
    return Asked(filter, after, min(max(shown, PAGE), LONGEST_PAGE))


def filter_in(parameters: Mapping[str, str]) -> QueueFilter:
    """The filter that a form was sent from; all open cases where it cannot be read."""
    try:
        return asked(parameters).filter
    except InvalidFilter:
        return EVERYTHING


def address_of(filter: QueueFilter, **more: str) -> str:
    """The part of an address from the `?` on; empty for the whole queue.

    >>> address_of(QueueFilter(outcome="decline", min_loss=100.0), done="c1")
    '?outcome=decline&min_loss=100&done=c1'
    >>> address_of(QueueFilter())
    ''
    """
    pairs = [(name, _text(value)) for name, value in _set(filter).items()]
    pairs += [(name, value) for name, value in more.items() if value]
    return f"?{urlencode(pairs)}" if pairs else ""


def chips(filter: QueueFilter) -> list[tuple[str, str]]:
    """What is filtered by, in words, each with the address of the queue without it."""
    found = []
    for name, value in _set(filter).items():
        default = getattr(EVERYTHING, name)
        without = msgspec.structs.replace(filter, **{name: default})
        words = "me" if value == ME else _text(value)
        shown = name.replace("_", " ") if value is True else f"{WORDS.get(name, name.replace('_', ' '))}: {words}"
        found.append((shown, f"/review{address_of(without)}"))
    return found


WORDS = {"text": "search", "min_loss": "at least", "assigned_to": "assigned to", "use_case": "use case"}


def _set(filter: QueueFilter) -> dict[str, object]:
    given = msgspec.structs.asdict(filter)
    return {name: value for name, value in given.items() if value != getattr(EVERYTHING, name)}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
