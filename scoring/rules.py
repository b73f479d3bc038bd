"""Rules that people write, compiled into one function for all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from features.expression import InvalidExpression, function, parse
from features.feature_set import FeatureSet
from features.view import field_sources
from stream.records import Outcome

Severity = {"approve": 0, "review": 1, "decline": 2}


class InvalidRule(ValueError):
    """A rule cannot be used. It names the rule and points at the character."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: when it fires, what it does, and why, in words for an analyst."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    when: str
    action: Literal["approve", "review", "decline"]
    because: str = ""


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Strict, so that a misspelt table is an error and not a file without rules.
    rules: list[Rule] = []


class RuleSet:
    """All live rules of a use case, as one compiled function."""

    def __init__(self, rules: list[Rule], features: FeatureSet) -> None:
        self.rules = tuple(rules)
        names = [rule.name for rule in rules]
        if len(set(names)) < len(names):
            raise InvalidRule(f"two rules are called {next(n for n in names if names.count(n) > 1)!r}; rename one")
        sources = field_sources(features.source, "r")
        for index, name in enumerate(features.names):
            # A feature may share a field's name (`amount`); the record's own value is the same and needs no vector.
            sources.setdefault(name, f"v[{index}]")
        bodies = []
        for rule in rules:
            try:
                bodies.append(parse(rule.when, features.kinds, "boolean").python(sources))
            except InvalidExpression as error:
                raise InvalidRule(f"rule {rule.name!r}: {error}") from None
        self._fires = function("r, v", f"({', '.join(bodies)},)" if bodies else "()")

    def fired(self, record: Any, vector: list[float]) -> list[Rule]:
        """The rules that fire for a record and its vector (null as NaN), in their order."""
        return [rule for rule, fires in zip(self.rules, self._fires(record, vector), strict=True) if fires]


def overrule(outcome: Outcome, fired: list[Rule]) -> Outcome:
    """The outcome after the rules: the strictest of theirs and the policy's; approved only where none is stricter."""
    stricter = [rule.action for rule in fired if rule.action != "approve"]
    if stricter:
        return max([outcome, *stricter], key=Severity.__getitem__)
    return "approve" if fired else outcome


def load_rules(path: Path, features: FeatureSet) -> RuleSet:
    """Read rules from TOML. Raises `InvalidRule` naming the rule."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        rules = msgspec.convert(content, _RuleFile).rules
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidRule(f"rules {path} cannot be read: {error}") from None
    return RuleSet(rules, features)
