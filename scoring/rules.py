"""Rules that people write, compiled into few functions for all.

What several rules that fire come to:

1. Every `add` adds its number to the models' score; the sum is held to [0, 1], and the policy chooses by it.
2. Of the rules that approve, review or decline, those of the highest priority decide, the others of them do not. Among
   these, the strictest: decline before review before approve.
3. A review or a decline can only make the policy's outcome stricter; an approval replaces it whatever it was.
4. Every `tag` is attached. A snoozed rule does none of all this for that entity; the decision names it.
"""

from __future__ import annotations

import math
import time
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from features.expression import Expression, InvalidExpression, ListRef, parse, which
from features.feature_set import FeatureSet
from features.view import field_sources
from stream.records import Outcome

Action = Literal["approve", "review", "decline", "add", "tag"]
Severity = {"approve": 0, "review": 1, "decline": 2}
LISTS = ("allow", "deny")
"""The lists that there always are, if need be without entries."""
PRIORITY_LIMIT = 10_000
TOGETHER = 16
"""How many rules one function asks. Compiling it keeps every other thread waiting, one to two milliseconds."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z"
LIST_NAME = r"^[a-z][a-z0-9_]{0,63}\Z"
RuleName = Annotated[str, Meta(pattern=NAME, description="1 to 64 letters, digits, spaces, . _ -")]
Entries = Mapping[ListRef, Mapping[str, float]]
"""What kept lists hold: by list and field, each value with the time at which it leaves (seconds since 1970)."""


class InvalidRule(ValueError):
    """A rule cannot be used. It names the rule and points at the character."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: when it fires, what it does, and why, in words for an analyst.

    `add` is what an `add` rule adds to the score, in [-1, 1]; `tag` is what a `tag` rule attaches. Of a higher
    `priority` it decides before others.
    """

    name: RuleName
    when: str
    action: Action
    because: Annotated[str, Meta(max_length=500)] = ""
    priority: Annotated[int, Meta(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)] = 0
    add: Annotated[float, Meta(ge=-1.0, le=1.0)] | None = None
    tag: Annotated[str, Meta(pattern=NAME, description="1 to 64 letters, digits, spaces, . _ -")] | None = None

    def __post_init__(self) -> None:
        for setting in ("add", "tag"):
            given = getattr(self, setting) is not None
            if given != (self.action == setting):
                remedy = f"leave out '{setting}'" if given else f"give '{setting}' too"
                raise ValueError(f"rule {self.name!r} has the action {self.action!r}: {remedy}")

    @property
    def decides(self) -> bool:
        """Whether it names an outcome."""
        return self.action in Severity


class Fired(NamedTuple):
    """What the rules say of one record: those that fired, by priority, and the names of others.

    `snoozed` would have fired but for a snooze, `shadow` would have if they were live, `broken` could not be asked;
    `version` is that of the rule book.
    """

    rules: Sequence[Rule] = ()
    snoozed: Sequence[str] = ()
    shadow: Sequence[str] = ()
    broken: Sequence[str] = ()
    version: int = 0

    @property
    def names(self) -> list[str]:
        """The rules that fired, by name."""
        return [rule.name for rule in self.rules]

    @property
    def deciding(self) -> list[Rule]:
        """Those that name an outcome, for `overrule`."""
        return [rule for rule in self.rules if rule.decides]

    @property
    def tags(self) -> list[str]:
        """What they attach, each once."""
        return list(dict.fromkeys(rule.tag for rule in self.rules if rule.tag is not None))

    def added_to(self, score: float) -> float:
        """The score with what they add, held to [0, 1]."""
        if not self.rules:
            return score
        added = math.fsum(rule.add for rule in self.rules if rule.add is not None)
        return min(1.0, max(0.0, score + added)) if added else score


@dataclass(frozen=True)
class Circumstances:
    """What changes more often than rules do. Times are seconds since 1970.

    `expiries` says until when a rule is live (for ever by default), `snoozes` until when each rule is silent for which
    values of which fields.
    """

    entries: Entries = field(default_factory=dict)
    expiries: Mapping[str, float] = field(default_factory=dict)
    snoozes: Mapping[str, Mapping[tuple[str, str], float]] = field(default_factory=dict)


class RuleSet:
    """All rules of a use case, compiled, immutable.

    Parameters
    ----------
    rules
        Those that are live. Raises `InvalidRule` for one that is not understood, and for two of one name.
    shadow
        Those that are asked too but change nothing; whatever becomes of them harms no live one.
    broken
        The names of live rules that cannot be asked, for every answer to say so.
    clock
        Seconds since 1970. It is read only when something fires.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        features: FeatureSet,
        *,
        shadow: Sequence[Rule] = (),
        circumstances: Circumstances | None = None,
        broken: Sequence[str] = (),
        version: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        names = [rule.name for rule in rules]
        if len(set(names)) < len(names):
            raise InvalidRule(f"two rules are called {next(n for n in names if names.count(n) > 1)!r}; rename one")
        self.rules = tuple(sorted(rules, key=lambda rule: -rule.priority))
        self.shadow = tuple(shadow)
        self.version = version
        self._now = circumstances or Circumstances()
        self._clock = clock
        self._nothing = Fired(broken=tuple(broken), version=version)
        self._live = self._compile(self.rules, features)
        self._shadowing = self._compile(self.shadow, features)

    def fired(self, record: Any, vector: list[float]) -> Fired:
        """What the rules say of a record and its vector (null as NaN), the live ones by priority.

        A rule that raises is named in `broken`, and the others answer.
        """
        broken: list[int] = []
        live: list[int] = []
        for ask in self._live:
            live += ask(record, vector, broken)
        shadow = self._ask_shadow(record, vector) if self.shadow else []
        if not live and not shadow and not broken:
            return self._nothing
        rules, snoozed = self._awake(live, record) if live else ([], [])
        failed = (*self._nothing.broken, *(self.rules[number].name for number in broken))
        return Fired(rules, snoozed, shadow, failed, self.version)

    def _ask_shadow(self, record: Any, vector: list[float]) -> list[str]:
        try:
            return [self.shadow[number].name for ask in self._shadowing for number in ask(record, vector, [])]
        except Exception:  # it changes nothing, so it may not fail anything
            return []

    def _awake(self, numbers: list[int], record: Any) -> tuple[list[Rule], list[str]]:
        now_s = self._clock()
        rules = []
        snoozed = []
        for number in numbers:
            rule = self.rules[number]
            if self._now.expiries.get(rule.name, math.inf) <= now_s:
                continue
            quiet = self._now.snoozes.get(rule.name)
            if quiet and any(
                until > now_s and getattr(record, field, None) == value for (field, value), until in quiet.items()
            ):
                snoozed.append(rule.name)
            else:
                rules.append(rule)
        return rules, snoozed

    def _compile(self, rules: Sequence[Rule], features: FeatureSet) -> list[Callable[..., list[int]]]:
        known = {*LISTS, *(ref.list for ref in self._now.entries)}
        sources = field_sources(features.source, "r")
        for index, name in enumerate(features.names):
            # A feature may share a field's name (`amount`); the record's own value is the same and needs no vector.
            sources.setdefault(name, f"v[{index}]")
        own = {name: f"n_{name}" for name in sources}
        asks = []
        for first in range(0, len(rules), TOGETHER):
            expressions = []
            for rule in rules[first : first + TOGETHER]:
                expressions.append(check_rule(rule, features, known))
                time.sleep(0)  # Other threads answer requests: they come first.
            asked = sorted({ref for expression in expressions for ref in expression.lists})
            # A value that is listed is looked at twice: its entry may have expired.
            templates = {ref: f"({{0}} in l{i} and l{i}[{{0}}] > now())" for i, ref in enumerate(asked)}
            given: dict[str, Any] = {f"l{i}": self._now.entries.get(ref, {}) for i, ref in enumerate(asked)}
            bodies = {first + i: one.python(own, templates) for i, one in enumerate(expressions)}
            # What several rules read is read once.
            names = sorted({name for expression in expressions for name in expression.names})
            read = [(own[name], sources[name]) for name in names]
            asks.append(which("r, v", bodies, read, given | {"now": self._clock}))
        return asks


def check_rule(rule: Rule, features: FeatureSet, lists: Collection[str] = LISTS) -> Expression:
    """The rule's condition, checked. Raises `InvalidRule` that names the rule and points at the character."""
    try:
        return parse(rule.when, features.kinds, "boolean", lists)
    except InvalidExpression as error:
        raise InvalidRule(f"rule {rule.name!r}: {error}") from None


def overrule(outcome: Outcome, fired: Sequence[Rule]) -> Outcome:
    """The outcome after the rules, given the policy's. The head of this module says how."""
    deciding = [rule for rule in fired if rule.decides]
    if not deciding:
        return outcome
    highest = max(rule.priority for rule in deciding)
    actions = [rule.action for rule in deciding if rule.priority == highest]
    strictest: Any = max(actions, key=Severity.__getitem__)
    if strictest == "approve":
        return "approve"
    decided: Outcome = max(outcome, strictest, key=Severity.__getitem__)
    return decided


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Strict, so that a misspelt table is an error and not a file without rules.
    rules: list[Rule] = []


def read_rules(path: Path) -> list[Rule]:
    """The rules of a TOML file, not yet checked against any features. Raises `InvalidRule`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(content, _RuleFile).rules
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidRule(f"rules {path} cannot be read: {error}") from None


def load_rules(path: Path, features: FeatureSet) -> RuleSet:
    """The rules of a TOML file, without any book. Raises `InvalidRule` naming the rule."""
    return RuleSet(read_rules(path), features)
