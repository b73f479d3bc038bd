"""The rule book and the archive as the pages of rules ask for them: `review.rule_desk.RuleDesk`.

A `RuleLog` is for one thread, so one lock stands around it. Card numbers that somebody types become tokens, as they do
after a command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import datetime, timedelta
from threading import Lock

import msgspec
from msgspec.structs import replace

from features.expression import InvalidExpression, ListRef, parse
from headrace.rule_examples import suggested
from headrace.rule_hit_count import HitCount
from headrace.rule_shown import booked, lists_of, moment, step_shown, subject_of, waiting_of
from headrace.rule_trial import USUAL, ArchiveTrial, TrialBounds
from headrace.rule_vocabulary import vocabulary
from review.rule_desk import RuleRefused, RulesUnavailable
from review.rule_facts import (
    BookStep,
    Example,
    Fault,
    HitsOfDay,
    Member,
    RuleBook,
    RuleText,
    Suggested,
    Word,
)
from scoring.rule_backtest import Choose, backtest
from scoring.rule_book import ForbiddenStep, Name, Written
from scoring.rule_log import RuleLog
from scoring.rule_report import RuleReport
from scoring.rule_steps import (
    VALUES_LIMIT,
    Answered,
    Approved,
    Backtested,
    Drafted,
    Expired,
    InvalidStep,
    Listed,
    Shadowed,
    Snoozed,
    Step,
    Unlisted,
    Woken,
    seconds,
)
from scoring.rules import InvalidRule, Rule, check_rule
from scoring.use_case import UseCase
from stream.archive import Archive
from stream.card_guard import CardGuard
from stream.card_key import NoCardKey
from stream.connection import RedisError, RedisUnavailable
from stream.invalid_record import InvalidRecord

Clock = Callable[[], datetime]
URGENT = timedelta(days=1)
"""How long values hold that are put on a list before another person agreed."""


class BookDesk:
    """One use case's book. `choose` gives the policy's outcomes for backtests of rules that add to the score."""

    def __init__(
        self,
        log: RuleLog,
        use_case: UseCase,
        archive: Archive,
        guard: CardGuard,
        label_delay: timedelta,
        choose: Callable[[], Choose],
        clock: Clock,
        lists_four_eyes: bool = True,
        bounds: TrialBounds = USUAL,
    ) -> None:
        self._log = log
        self._use_case = use_case
        self._archive = archive
        self._guard = guard
        self._label_delay = label_delay
        self._choose = choose
        self._clock = clock
        self._lists_four_eyes = lists_four_eyes
        self._bounds = bounds
        self._lock = Lock()
        self._hits = HitCount(archive, use_case.name)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._log.connection.close()

    def book(self, now: datetime) -> RuleBook:
        """Everything that is in it."""
        with self._read() as log:
            book = log.book
            rules = tuple(booked(name, book, now) for name in sorted(book.names))
            return RuleBook(
                version=book.version,
                rules=rules,
                lists=tuple(lists_of(book, now)),
                problems=len(log.problems),
                waiting=tuple(waiting_of(book, now)),
            )

    def steps(self, of: str | None, limit: int) -> list[BookStep]:
        """The newest steps first."""
        with self._read() as log:
            found = deque(
                (
                    (version, step)
                    for version, step in log.steps()
                    if of is None or (step is not None and subject_of(step) == of)
                ),
                maxlen=limit,
            )
            return [step_shown(version, step, log.problems.get(version, "")) for version, step in reversed(found)]

    def hits(self, now: datetime) -> dict[str, list[HitsOfDay]] | None:
        """How often each rule fired of late."""
        return self._hits.counted(now)

    def words(self) -> list[Word]:
        """The language."""
        with self._read() as log:
            lists = lists_of(log.book, self._clock())
        return vocabulary(self._use_case.features, lists)

    def fields(self) -> list[str]:
        """The text fields."""
        return [name for name, kind in self._use_case.features.kinds.items() if kind == "text" and name != "event_id"]

    def fault(self, when: str) -> Fault | None:
        """What is wrong with a condition."""
        with self._read() as log:
            lists = log.book.lists
        try:
            parse(when, self._use_case.features.kinds, "boolean", lists)
        except InvalidExpression as error:
            # The language drops the spaces before a text, and counts from its first word.
            before = len(when) - len(when.lstrip(" ")) if error.text == when.strip() else 0
            return Fault(before + error.column, str(error).split("\n", 1)[0])
        return None

    def draft(self, text: RuleText, by: str, why: str, now: datetime) -> int:
        """Write the next revision."""
        rule = self._rule(text)
        if fault := self.fault(rule.when):
            raise RuleRefused(fault.message, fault)
        with self._read() as log:
            known = log.book.names.get(rule.name, Name())
            step = Drafted(at=now, by=by, why=self._clean(why), rule=rule, revision=known.newest + 1)
            log.append(step)
            return step.revision

    def shadow(self, name: str, revision: int, by: str, why: str, now: datetime) -> None:
        """Have it asked without effect."""
        self._do(Shadowed(at=now, by=by, why=self._clean(why), name=name, revision=revision))

    def approve(self, name: str, revision: int, until: datetime | None, by: str, why: str, now: datetime) -> None:
        """Make it live."""
        self._do(Approved(at=now, by=by, why=self._clean(why), name=name, revision=revision, expires_at=until))

    def expire(self, name: str, by: str, why: str, now: datetime) -> None:
        """End it."""
        self._do(Expired(at=now, by=by, why=self._clean(why), name=name))

    def snooze(self, name: str, field: str, value: str, until: datetime, by: str, why: str, now: datetime) -> None:
        """Keep it silent for one value."""
        value, why = self._clean(value), self._clean(why)
        self._do(Snoozed(at=now, by=by, why=why, name=name, field=field, value=value, until=until))

    def wake(self, name: str, field: str, value: str, by: str, now: datetime) -> None:
        """End a snooze."""
        self._do(Woken(at=now, by=by, name=name, field=field, value=value))

    def members(self, list: str, field: str, containing: str, limit: int, now: datetime) -> tuple[list[Member], int]:
        """Values of a list that contain a text, in order."""
        wanted, now_s = self._clean(containing).casefold(), now.timestamp()
        with self._read() as log:
            held = [
                (value, until_s)
                for ref, values in log.book.entries.items()
                if ref == (list, field)
                for value, until_s in values.items()
                if until_s > now_s and wanted in value.casefold()
            ]
        return [Member(value, moment(until_s)) for value, until_s in sorted(held)[:limit]], len(held)

    def put(
        self,
        list: str,
        field: str,
        values: Sequence[str],
        until: datetime | None,
        by: str,
        why: str,
        now: datetime,
        *,
        urgent: bool = False,
    ) -> bool:
        """Put values on a list, a thousand in a step. What is urgent is two steps: a day at once, the rest waits."""
        waits, soon = self._needs_another(list, field, now), now + URGENT
        for some in _thousands([self._clean(value) for value in values]):
            step = Listed(at=now, by=by, why=self._clean(why), list=list, field=field, values=some, until=until)
            if waits and urgent:
                self._do(replace(step, until=soon if until is None else min(until, soon)))
            self._do(replace(step, waits=waits))
        return waits

    def take_off(self, list: str, field: str, values: Sequence[str], by: str, why: str, now: datetime) -> bool:
        """Take values off a list."""
        waits = self._needs_another(list, field, now)
        for some in _thousands([self._clean(value) for value in values]):
            self._do(Unlisted(at=now, by=by, why=self._clean(why), list=list, field=field, values=some, waits=waits))
        return waits

    def answer(self, list: str, version: int, agreed: bool, by: str, why: str, now: datetime) -> None:
        """Agree or refuse. With what is refused goes what was put on at once, as far as it is there as it was put."""
        with self._read() as log:
            step = log.book.waiting.get(version)
            log.append(Answered(at=now, by=by, why=self._clean(why), list=list, version=version, agreed=agreed))
            if agreed or not isinstance(step, Listed):
                return
            held = log.book.entries.get(ListRef(step.list, step.field), {})
            soon_s = min(seconds(step.until), (step.at + URGENT).timestamp())
            at_once = tuple(value for value in step.values if held.get(value) == soon_s)
            if at_once:
                log.append(Unlisted(at=now, by=by, why=step.why, list=list, field=step.field, values=at_once))

    def _needs_another(self, list: str, field: str, now: datetime) -> bool:
        """Whether a live rule asks this list of this field, and the policy wants a second person then."""
        if not self._lists_four_eyes:
            return False
        with self._read() as log:
            for written in log.book.live(now):
                with suppress(InvalidRule):
                    if (list, field) in check_rule(written.rule, log.features, log.book.lists).lists:
                        return True
        return False

    def trial(
        self, text: RuleText | str, since: datetime | None, until: datetime | None, lists_now: bool, by: str
    ) -> ArchiveTrial:
        """A backtest of a text, or of what is on its way or live under a name."""
        now = self._clock()
        rule = None if isinstance(text, str) else self._rule(text)
        if rule is not None and (fault := self.fault(rule.when)):
            raise RuleRefused(fault.message, fault)
        with self._read() as log:
            name = text if isinstance(text, str) else text.name
            known = log.book.names.get(name, Name())
            written = known.next or known.live if rule is None else Written(rule, known.newest + 1, by, now, "draft")
            if written is None:
                raise RuleRefused(f"there is no rule {name!r} that could be tried; write it anew")
            book, steps = deepcopy(log.book), [step for _, step in log.steps()]

        def attempt(database: object, go_on: Callable[[], None]) -> RuleReport:
            choose = self._choose()

            def chosen(record: object, score: float) -> object:
                go_on()
                return choose(record, score)  # type: ignore[arg-type]

            return backtest(
                written,
                book,
                steps,
                self._archive,
                self._use_case.features,
                chosen,  # type: ignore[arg-type]
                label_delay=self._label_delay,
                since=since,
                until=until,
                lists_at=now if lists_now else None,
                into=database,  # type: ignore[arg-type]
            )

        def keep(report: RuleReport) -> bool:
            try:
                step = Backtested(at=self._clock(), by=by, name=name, revision=written.revision, report=report)
                self._do(step)
            except (RuleRefused, RulesUnavailable):
                return False  # Somebody wrote another revision meanwhile; the figures are shown all the same.
            return True

        return ArchiveTrial(attempt, keep if rule is None and known.next is not None else None, self._bounds)

    def suggest(self, examples: Sequence[Example]) -> Suggested:
        """Short conditions that tell frauds from the others."""
        return suggested(examples, self._use_case.features)

    def _do(self, step: Step) -> None:
        with self._read() as log:
            log.append(step)

    def _clean(self, text: str) -> str:
        try:
            return self._guard.text(text, "what you typed")
        except (InvalidRecord, NoCardKey) as error:
            raise RuleRefused(str(error)) from None

    def _rule(self, text: RuleText) -> Rule:
        """The rule of a text. Raises `RuleRefused`."""
        given = {name: value for name, value in msgspec.structs.asdict(text).items() if value is not None}
        given |= {name: self._clean(value) for name, value in given.items() if isinstance(value, str)}
        try:
            return msgspec.convert(given, Rule)
        except msgspec.ValidationError as error:
            raise RuleRefused(_plain(str(error), text.name)) from None

    @contextmanager
    def _read(self) -> Iterator[RuleLog]:
        """The log as it is now, for this thread alone."""
        with self._lock:
            try:
                self._log.read()
                yield self._log
            except (RedisError, RedisUnavailable) as error:
                raise RulesUnavailable(f"the rule book does not answer: {error}") from error
            except (ForbiddenStep, InvalidStep, InvalidRule) as error:
                raise RuleRefused(_plain(str(error))) from None


def _thousands(values: Sequence[str]) -> Iterator[tuple[str, ...]]:
    unique = tuple(dict.fromkeys(values))
    for first in range(0, len(unique), VALUES_LIMIT):
        yield unique[first : first + VALUES_LIMIT]


def _plain(words: str, name: str = "") -> str:
    """Words for people: one line, and what is wrong with a name as whoever typed it would say it."""
    line = words.split("\n", 1)[0].removeprefix("not a step of a rule book: ")
    if "`$.name`" in line:
        return (
            f"a rule's name has 1 to 64 letters, digits, spaces and . _ -, and begins with a letter or digit; "
            f"{name[:40]!r} is none"
        )
    if "`$.tag`" in line:
        return "a tag has 1 to 64 letters, digits, spaces and . _ -, and begins with a letter or digit"
    if "`$.add`" in line:
        return "what a rule adds to the score is a number from -1 to 1"
    return line
