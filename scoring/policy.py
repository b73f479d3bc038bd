"""The policy: from a probability and an amount to the outcome with the least expected cost.

The numbers are in one file (`policy.toml`), by segment. Analysts' minutes are bounded (`policy_budget.py`), so a review
is chosen where it saves more than the present price of its minutes; where it does not, the cheaper of the other two.
A small share of would-be declines may be let through, so that somebody learns whether they were frauds.

`propensity` is the probability of the recorded outcome given the policy's version, the record, the score, the rules
that fired and the budget at that moment. All of that is known before any draw, so it is exact:

- 1 where a rule fired (rules decide against the policy, and nothing is let through against a rule),
- 1 for what is approved or reviewed at the least cost, also where the price of analysts' time decided,
- 1 - share for a decline that could have been let through, and share where it was,
- 1 for a decline that could not: too large an amount, the day's limit reached, or no share at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from scoring.policy_budget import Budget, OwnBudget
from scoring.policy_costs import Analysts, Costs, Expected, LetThrough, expected_costs
from scoring.rules import Rule, overrule
from stream.records import Outcome

DRAW_BYTES = 8
SPARE_BITS = 11
DRAWS = 2.0 ** (8 * DRAW_BYTES - SPARE_BITS)
"""As many as a float tells apart: with more, the greatest would round to 1."""


class PolicyChoice(NamedTuple):
    """The outcome, the probability with which it was chosen, what each was expected to cost, and by whose numbers.

    `propensity` below 1 with the outcome `approve` marks a would-be decline that was let through. `cheapest` is the
    outcome before any rule or draw. `review_free` and `draw_free` are what the budget said, None where it was not
    asked.
    """

    outcome: Outcome
    propensity: float
    expected: Expected
    segment: str
    cheapest: Outcome
    review_free: bool | None = None
    draw_free: bool | None = None

    @property
    def expected_cost(self) -> dict[str, float]:
        """By outcome, in the policy's currency, to four digits."""
        return {name: round(cost, 4) for name, cost in self.expected._asdict().items()}


class Segment(NamedTuple):
    """Records with numbers of their own."""

    name: str
    applies: Callable[[Any], bool]
    costs: Costs


class Policy:
    """A versioned table of costs, by segment.

    `budget` is the process's own at first; a service shares one among its processes (`policy_shared.py`). `key` makes
    the draws of who is let through: without it nobody outside can tell which event ids would be.
    """

    def __init__(
        self,
        version: str,
        default: Costs,
        segments: Sequence[Segment] = (),
        analysts: Analysts | None = None,
        let_through: LetThrough | None = None,
        currency_rates: dict[str, float] | None = None,
        key: str = "",
    ) -> None:
        self.version = version
        self.default = default
        self.segments = tuple(segments)
        self.analysts = analysts
        self.let_through = LetThrough() if let_through is None else let_through
        self.currency_rates = currency_rates or {}
        self.budget: Budget = OwnBudget(analysts, self.let_through.daily_limit)
        self._key = key.encode()

    def choose(self, record: Any, probability: float, fired: Sequence[Rule] = ()) -> PolicyChoice:
        """The cheapest outcome for a record with an `amount`, given its calibrated probability of fraud in [0, 1].

        `fired` are the rules that fired and name an outcome; they overrule it. Takes from `budget` what the outcome
        needs.
        """
        name, costs = "default", self.default
        for segment in self.segments:
            if segment.applies(record):
                name, costs = segment.name, segment.costs
                break
        amount: float = record.amount
        if self.currency_rates:
            amount *= self.currency_rates.get(record.currency, 1.0)
        expected = expected_costs(costs, probability, amount)
        cheapest, review_free = self._cheapest(costs, probability, expected, fired)
        outcome = cheapest
        propensity, draw_free = 1.0, None
        if fired:
            outcome = self._overruled(outcome, fired, costs)
        elif outcome == "decline" and self._subject_to_a_draw(amount):
            share = self.let_through.share
            draw_free = self.budget.may_let_through
            if draw_free and self.draw(record.event_id) < share:
                self.budget.charge_let_through()
                outcome, propensity = "approve", share
            elif draw_free:
                propensity = 1.0 - share
        return PolicyChoice(outcome, propensity, expected, name, cheapest, review_free, draw_free)

    def draw(self, event_id: str) -> float:
        """A number in [0, 1) that depends on the event id and the key alone: a retry draws the same."""
        digest = blake2b(event_id.encode(), digest_size=DRAW_BYTES, key=self._key[:64]).digest()
        return float((int.from_bytes(digest, "little") >> SPARE_BITS) / DRAWS)

    def _cheapest(
        self, costs: Costs, probability: float, expected: Expected, fired: Sequence[Rule]
    ) -> tuple[Outcome, bool | None]:
        """The outcome, and what the budget of analysts' time said to it."""
        if probability < costs.review_floor:
            return "approve", None
        other: Outcome = "decline" if expected.decline < expected.approve else "approve"
        worth = min(expected.approve, expected.decline) - expected.review
        if worth <= 0.0:
            return other, None
        if fired and overrule("review", fired) != "review":
            return "review", None  # it will not be one: no minutes are taken
        is_free = self.budget.take_review(costs.review_minutes, worth)
        return ("review" if is_free else other), is_free

    def _overruled(self, outcome: Outcome, fired: Sequence[Rule], costs: Costs) -> Outcome:
        final = overrule(outcome, fired)
        if final == "review" and outcome != "review":
            self.budget.charge_review(costs.review_minutes)
        return final

    def _subject_to_a_draw(self, amount: float) -> bool:
        settings = self.let_through
        return settings.share > 0.0 and amount <= settings.largest_amount
