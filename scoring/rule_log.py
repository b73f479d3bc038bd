"""Where the rule book is kept: one list in Redis, a step an element, only ever appended to. Its length is the version.

A step is appended by a script that does so only at the version which the writer had read: what was allowed when it was
checked is allowed still. A crash leaves the whole step or none of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from copy import deepcopy

from features.feature_set import FeatureSet
from scoring.rule_book import Book, ForbiddenStep
from scoring.rule_steps import (
    Drafted,
    InvalidStep,
    Listed,
    Shadowed,
    Snoozed,
    Step,
    Unlisted,
    Woken,
    decode_step,
    encode_step,
)
from scoring.rules import InvalidRule, Rule, check_rule
from stream.connection import RedisConnection

TRIES = 20
CHUNK_STEPS = 200
"""Steps in one read: a step has at most some 130 KB, so even those come within a short time limit."""
WEIGHT_LIMIT = 3000
"""What all live and shadow rules may weigh together: some 200 us at the very most."""


def book_key(use_case: str) -> str:
    """The list of a use case's steps."""
    return f"rules:{use_case}"


class RuleLog:
    """The steps of one use case, and the book that they come to, as far as they were read. One thread uses it.

    `problems` says which steps were not followed, by version; `changes` grows with whatever changed. Raises
    `RedisUnavailable` and `RedisError`.
    """

    _APPEND = """
    if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
    redis.call('RPUSH', KEYS[1], ARGV[2])
    return 1
    """

    def __init__(self, connection: RedisConnection, use_case: str, shipped: list[Rule], features: FeatureSet) -> None:
        self.connection = connection
        self.key = book_key(use_case)
        self.features = features
        self.book = Book.shipped(shipped)
        self.problems: dict[int, str] = {}
        self.changes = 0
        self._shipped = shipped
        self._last = b""
        self._append = connection.script(self._APPEND)

    def read(self) -> None:
        """Bring the book up to date; what was read stays read where Redis fails in the midst.

        Where Redis has lost steps, or has others than were read, the book starts anew from what Redis has.
        """
        while True:
            known = self.book.version
            first = max(0, known - 1)
            found: list[bytes] = self.connection.one("LRANGE", self.key, first, known + CHUNK_STEPS - 1)
            if known and (not found or found[0] != self._last):
                self.book, self.problems, self._last = Book.shipped(self._shipped), {}, b""
                self.changes += 1
                continue
            for content in found[known - first :]:
                self._follow(content)
            if len(found) < CHUNK_STEPS:
                return

    def steps(self) -> Iterator[tuple[int, Step | None]]:
        """Every step so far with its version, oldest first; None for one that this release does not know."""
        version = 0
        while True:
            contents: list[bytes] = self.connection.one("LRANGE", self.key, version, version + CHUNK_STEPS - 1)
            for content in contents:
                version += 1
                try:
                    yield version, decode_step(content)
                except InvalidStep:
                    yield version, None
            if len(contents) < CHUNK_STEPS:
                return

    def append(self, step: Step) -> int:
        """Do one step; its version. Others may append at the same time: it is checked against what they did.

        Raises
        ------
        ForbiddenStep, InvalidStep, InvalidRule
            Nothing was appended; the message says why.
        RedisUnavailable
            It may have been appended or not: the history says.
        """
        content = encode_step(step)
        for _ in range(TRIES):
            self.read()
            check(step, self.book, self.features)
            deepcopy(self.book).apply(step)
            version = self.book.version
            if self.connection.one(*self._append.command([self.key], [version, content])):
                return version + 1
        raise ForbiddenStep(f"{TRIES} others were faster; try again")

    def _follow(self, content: bytes) -> None:
        version = self.book.version + 1
        try:
            step = decode_step(content)
        except InvalidStep as error:
            self.book.version = version
            self.problems[version] = str(error)
        else:
            try:
                self.book.apply(step)
            except ForbiddenStep as error:
                self.problems[version] = str(error)
        self._last = content
        self.changes += 1


def check(step: Step, book: Book, features: FeatureSet) -> None:
    """What a step must be besides allowed: a rule that is understood, a known field, not too heavy.

    Raises `InvalidRule` or `InvalidStep`.
    """
    match step:
        case Drafted(rule=rule):
            check_rule(rule, features, book.lists)
        case Shadowed(name=name):
            written = book.names[name].next if name in book.names else None
            others = [one.rule for one in (*book.live(step.at), *book.shadow()) if one.rule.name != name]
            weight = sum(_weight(rule, book, features) for rule in others)
            if written is not None and weight + _weight(written.rule, book, features) > WEIGHT_LIMIT:
                raise InvalidStep(
                    f"with rule {name!r} all rules would weigh more than {WEIGHT_LIMIT:,}: every answer would wait for "
                    "them; shorten it, or expire others"
                )
        case Listed() | Unlisted() | Snoozed() | Woken():
            texts = [field for field, kind in features.kinds.items() if kind == "text"]
            if step.field not in texts:
                near = difflib.get_close_matches(step.field, texts, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(texts)}"
                raise InvalidStep(f"there is no text field {step.field!r}; {hint}")


def _weight(rule: Rule, book: Book, features: FeatureSet) -> int:
    try:
        return check_rule(rule, features, book.lists).weight
    except InvalidRule:
        return 0
