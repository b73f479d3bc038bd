"""A rule book's revisions, lists and steps as the pages show them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from headrace.rule_tables import step_row
from headrace.rule_trial import report_of
from review.rule_facts import BookedRule, BookStep, KeptList, Revision, RuleText, Snooze, State, Waiting
from scoring.rule_book import WAITS_S, Book, Stage, Written
from scoring.rule_steps import Listed, ListStep, Step
from scoring.rules import LISTS, Rule

SHOWN_CHARACTERS = 400
VALUES_SHOWN = 20
STATES: dict[Stage, State] = {
    "draft": "draft",
    "backtested": "backtested",
    "shadow": "shadow",
    "live": "live",
    "expired": "ended",
}


def booked(name: str, book: Book, now: datetime) -> BookedRule:
    """All there is under a name."""
    known = book.names[name]
    snoozes = tuple(
        Snooze(field, value, until)
        for (field, value), until_s in sorted(book.snoozes.get(name, {}).items())
        if until_s > now.timestamp() and (until := moment(until_s)) is not None
    )
    live = None if known.live is None or known.live.ended(now) else _revision(known.live)
    following = None if known.next is None else _revision(known.next)
    return BookedRule(name=name, live=live, next=following, newest=known.newest, snoozes=snoozes)


def lists_of(book: Book, now: datetime) -> Iterator[KeptList]:
    """Every list with a value, and the ones that there always are."""
    now_s, empty = now.timestamp(), set(LISTS)
    for ref, values in sorted(book.entries.items()):
        size = sum(until_s > now_s for until_s in values.values())
        if size:
            empty.discard(ref.list)
            yield KeptList(ref.list, ref.field, size)
    for name in sorted(empty):
        yield KeptList(name, "card_id", 0)


def waiting_of(book: Book, now: datetime) -> Iterator[Waiting]:
    """The changes of lists that wait for another person, the oldest first."""
    for version, step in sorted(book.waiting.items()):
        if (now - step.at).total_seconds() <= WAITS_S:
            until, values = (step.until, step.values) if isinstance(step, Listed) else (None, step.values)
            shown, off = values[:VALUES_SHOWN], not isinstance(step, Listed)
            yield Waiting(version, step.list, step.field, shown, len(values), off, until, step.by, step.at, step.why)


def step_shown(version: int, step: Step | None, refused: str) -> BookStep:
    """A step in words."""
    if step is None:
        what = "a step that this release does not know"
        return BookStep(version, datetime.fromtimestamp(0, UTC), "", "", "", what, "", refused)
    _, _, by, do, of, what, why = step_row(version, step, None)
    return BookStep(version, step.at, by, do, of, what[:SHOWN_CHARACTERS], why, refused)


def subject_of(step: Step) -> str:
    """The rule or list that a step is about."""
    return step.list if isinstance(step, ListStep) else step.name


def moment(until_s: float) -> datetime | None:
    """A time; None for ever."""
    return None if math.isinf(until_s) else datetime.fromtimestamp(until_s, UTC)


def text_of(rule: Rule) -> RuleText:
    """What a rule says."""
    return RuleText(
        name=rule.name,
        when=rule.when,
        action=rule.action,
        because=rule.because,
        priority=rule.priority,
        add=rule.add,
        tag=rule.tag,
    )


def _revision(written: Written) -> Revision:
    return Revision(
        text=text_of(written.rule),
        revision=written.revision,
        state=STATES[written.stage],
        author=written.author,
        written_at=written.at,
        approved_by=written.approved_by,
        expires_at=written.expires_at,
        report=None if written.report is None else report_of(written.report),
    )
