"""The rules that answer now: immutable, swapped whole between two requests, refreshed in the background."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from features.feature_set import FeatureSet
from scoring.background import Background
from scoring.rule_book import Book
from scoring.rule_log import RuleLog
from scoring.rules import Fired, InvalidRule, Rule, RuleSet, check_rule
from stream.connection import RedisError, RedisUnavailable

REFRESH_INTERVAL_S = 0.25
UNREAD = ("book",)
"""Of answers given before the book could be read for the first time: the shipped rules alone spoke."""

_log = logging.getLogger(__name__)


class RuleFeed:
    """Keeps `current` up to date from the rule book: a step takes effect within half a second.

    Until the book was read once, the shipped rules answer and every answer says `rule book` is missing. When Redis goes
    later, the present rules stay; lists, snoozes and rules still expire on time. `problems` says what is wrong, by rule
    or `book`.
    """

    def __init__(
        self, log: RuleLog, clock: Callable[[], float] = time.time, interval_s: float = REFRESH_INTERVAL_S
    ) -> None:
        self.problems: dict[str, str] = {}
        self.failures = 0
        self.was_answered = False
        """Whether Redis has ever said what is in the book, or why it cannot."""
        self._rule_log = log
        self._clock = clock
        self._seen: int | None = None
        shipped, _ = compile_book(log.book, log.features, clock)
        self.current = RuleSet(shipped.rules, log.features, broken=UNREAD, clock=clock)
        self._background = Background("rule-feed", self.refresh, interval_s)

    def fired(self, record: Any, vector: list[float]) -> Fired:
        """What the present rules say of a record and its vector (null as NaN)."""
        return self.current.fired(record, vector)

    def start(self) -> None:
        """Read the book, then go on in the background."""
        self._background.start()

    def stop(self) -> None:
        """End the background thread, if it was started, and close the connection."""
        self._background.stop()
        self._rule_log.connection.close()

    def refresh(self) -> None:
        """Look once for new steps. Whatever is wrong, the present rules stay in place."""
        before = self._rule_log.book.version
        try:
            self._rule_log.read()
        except (RedisUnavailable, RedisError) as error:
            self.was_answered |= isinstance(error, RedisError)
            self.problems["book"] = str(error)
            self.failures += 1
            return
        self.was_answered = True
        if self._rule_log.changes == self._seen:
            self.problems.pop("book", None)
            return
        book = self._rule_log.book
        if book.version < before:
            _log.warning("the rule book went back from version %d to %d: Redis has lost steps", before, book.version)
        try:
            self.current, problems = compile_book(book, self._rule_log.features, self._clock)
        except Exception as error:  # nothing may end this thread
            _log.exception("version %d of the rules cannot be used", book.version)
            self.problems["book"] = str(error)
            self.failures += 1
            return
        self._seen = self._rule_log.changes
        self.problems = problems
        for name, problem in problems.items():
            _log.warning("rule %r is not asked: %s", name, problem)


def compile_book(book: Book, features: FeatureSet, clock: Callable[[], float]) -> tuple[RuleSet, dict[str, str]]:
    """The rules of a book, and what is wrong with those that cannot be asked (written for other features), by name."""
    problems: dict[str, str] = {}

    def usable(rules: list[Rule]) -> list[Rule]:
        found = []
        for rule in rules:
            try:
                check_rule(rule, features, book.lists)
                found.append(rule)
            except InvalidRule as error:
                problems[rule.name] = str(error)
        return found

    live = [one.rule for one in book.live(datetime.fromtimestamp(clock(), UTC))]
    good = usable(live)
    broken = [rule.name for rule in live if rule.name in problems]
    rules = RuleSet(
        good,
        features,
        shadow=usable([one.rule for one in book.shadow()]),
        circumstances=book.circumstances(),
        broken=broken,
        version=book.version,
        clock=clock,
    )
    return rules, problems
