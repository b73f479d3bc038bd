"""Where the rule book is kept: a log of steps (`scoring/step_log.py`), each checked against the book it is added to."""

from __future__ import annotations

import difflib
from copy import deepcopy

from features.feature_set import FeatureSet
from scoring.rule_book import Book
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
from scoring.step_log import StepLog
from stream.connection import RedisConnection

CHUNK_STEPS = 200
"""Steps in one read: a step has at most some 130 KB, so even those come within a short time limit."""
WEIGHT_LIMIT = 3000
"""What all live and shadow rules may weigh together: some 200 us at the very most."""


def book_key(use_case: str) -> str:
    """The list of a use case's steps."""
    return f"rules:{use_case}"


class RuleLog(StepLog[Step, Book]):
    """The steps of one use case's rules. `append` raises `InvalidStep`, `InvalidRule` or `ForbiddenStep`."""

    chunk_steps = CHUNK_STEPS
    encode = staticmethod(encode_step)
    decode = staticmethod(decode_step)

    def __init__(self, connection: RedisConnection, use_case: str, shipped: list[Rule], features: FeatureSet) -> None:
        self.features = features
        self._shipped = shipped
        super().__init__(connection, book_key(use_case))

    def beginning(self) -> Book:
        """The rules that are shipped."""
        return Book.shipped(self._shipped)

    def check(self, step: Step) -> None:
        """Raises `ForbiddenStep`, `InvalidRule` or `InvalidStep`."""
        check(step, self.book, self.features)
        deepcopy(self.book).apply(step)


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
