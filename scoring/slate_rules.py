"""Business rules of slates: what a candidate must not be, and what counts more, in the project's rule language.

`hide` keeps an item out of every place of a slate, those that explore too; `boost` multiplies its score, and several
that hold multiply each other. A rule that cannot be asked of an item leaves it as it is, and the others answer.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from features.expression import Expression, InvalidExpression, Kind, parse, which
from scoring.rules import NAME, TOGETHER

LEAST_BOOST, MOST_BOOST = 0.01, 100.0
"""Also of several boosts together."""
FIELDS: dict[str, Kind] = {
    "item_id": "text",
    "category": "text",
    "title": "text",
    "price": "number",
    "age_days": "number",
    "score": "number",
    "source": "text",
    "scenario": "text",
}
"""What a rule can read. A price or an age that nobody knows is null, and so is a text."""


class SlateItem(NamedTuple):
    """A candidate as rules see it; NaN and None are null. `source` is the one of `SOURCES` that lifted it most."""

    item_id: str
    category: str | None
    title: str | None
    price: float
    age_days: float
    score: float
    source: str


class InvalidSlateRule(ValueError):
    """A rule cannot be used. It names the rule, what is wrong and the remedy."""


class SlateRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: for which candidates it holds, what it does to them, and why, in words."""

    name: Annotated[str, Meta(pattern=NAME, description="1 to 64 letters, digits, spaces, . _ -")]
    when: str
    action: Literal["hide", "boost"]
    boost: Annotated[float, Meta(ge=LEAST_BOOST, le=MOST_BOOST)] | None = None
    because: Annotated[str, Meta(max_length=500)] = ""

    def __post_init__(self) -> None:
        if (self.boost is not None) != (self.action == "boost"):
            remedy = "give 'boost' too, such as 1.5" if self.boost is None else "leave out 'boost'"
            raise ValueError(f"rule {self.name!r} has the action {self.action!r}: {remedy}")


class Ruled(NamedTuple):
    """What the rules came to for n candidates: which are hidden, bool[n], and by what to multiply scores, float64[n].

    `fired` names the rules that held for any of them, `broken` those that could not be asked of one.
    """

    hidden: NDArray[np.bool_]
    boosts: NDArray[np.float64]
    fired: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class SlateRules:
    """Rules, compiled once: without any, candidates cost nothing. Raises `InvalidSlateRule` for one not understood."""

    def __init__(self, rules: Sequence[SlateRule] = ()) -> None:
        names = [rule.name for rule in rules]
        if len(set(names)) < len(names):
            raise InvalidSlateRule(f"two rules are called {next(n for n in names if names.count(n) > 1)!r}; rename one")
        self.rules = tuple(rules)
        conditions = [check_rule(rule) for rule in self.rules]
        self._gates = [_gate(condition) for condition in conditions]
        self._asks = [
            _compile(dict(enumerate(conditions[first : first + TOGETHER], first)))
            for first in range(0, len(self.rules), TOGETHER)
        ]

    def __bool__(self) -> bool:
        return bool(self.rules)

    def may_hold(self, scenario: str) -> bool:
        """Whether any rule can hold in this scenario: where none can, nobody need describe candidates to them."""
        return any(gate is None or gate(scenario, []) for gate in self._gates)

    def apply(self, items: Sequence[SlateItem], scenario: str = "") -> Ruled:
        """What the rules say of the candidates of one slate, each asked once."""
        ruled = Ruled(np.zeros(len(items), dtype=np.bool_), np.ones(len(items)))
        fired: set[int] = set()
        broken: list[int] = []
        for ask in self._asks:
            for place, item in enumerate(items):
                for number in ask(item, scenario, broken):
                    fired.add(number)
                    boost = self.rules[number].boost
                    if boost is None:
                        ruled.hidden[place] = True
                    else:
                        ruled.boosts[place] *= boost
        if not fired and not broken:
            return ruled
        np.clip(ruled.boosts, LEAST_BOOST, MOST_BOOST, out=ruled.boosts)
        return ruled._replace(fired=self._names(fired), broken=self._names(set(broken)))

    def _names(self, numbers: set[int]) -> tuple[str, ...]:
        return tuple(self.rules[number].name for number in sorted(numbers))


def check_rule(rule: SlateRule) -> Expression:
    """The rule's condition, checked. Raises `InvalidSlateRule` that names the rule and points at the character."""
    try:
        return parse(rule.when, FIELDS, "boolean")
    except InvalidExpression as error:
        raise InvalidSlateRule(f"rule {rule.name!r}: {error}") from None


def _gate(condition: Expression) -> Any:
    """What the condition demands of the scenario alone, as a function of it; None where it demands nothing."""
    tree = condition.tree
    demands = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    of_scenario = [
        f"({ast.unparse(one)})"
        for one in demands
        if {node.id for node in ast.walk(one) if isinstance(node, ast.Name)} == {"scenario"}
    ]
    if not of_scenario:
        return None
    alone = parse(" and ".join(of_scenario), FIELDS, "boolean")
    return which("s", {0: alone.python({"scenario": "s"})})


def _compile(conditions: dict[int, Expression]) -> Any:
    own = {name: f"n_{name}" for name in FIELDS}
    # What several rules read is read once.
    names = sorted({name for one in conditions.values() for name in one.names})
    read = [(own[name], "s" if name == "scenario" else f"r.{name}") for name in names]
    return which("r, s", {number: one.python(own) for number, one in conditions.items()}, read)
