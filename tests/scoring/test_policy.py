from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.policy import Policy, PolicyChoice, Segment
from scoring.policy_budget import OwnBudget
from scoring.policy_costs import Analysts, Costs, LetThrough, expected_costs
from scoring.policy_file import load_policy
from scoring.rules import Action, Rule, Severity, overrule
from scoring.use_case import FRAUD
from stream.records import Outcome, Transaction
from tests.scoring.conftest import payment

COSTS = Costs(
    lost_amount=1.0,
    chargeback_fee=15.0,
    lost_margin=0.03,
    goodwill=8.0,
    review_minutes=4.0,
    minute_cost=1.0,
    review_recall=0.9,
    review_false_alarm=0.02,
    review_wait=0.5,
    review_floor=0.02,
)
SHARE = 0.1
LETS = LetThrough(share=SHARE, largest_amount=100.0, daily_limit=1_000_000)
HOURLY = Analysts(minutes_per_hour=60.0, backlog_minutes=8.0, highest_price=1.0)
shares = st.floats(0.0, 1.0)
amounts = st.floats(0.0, 1e5)


def policy(**options: Any) -> Policy:
    given: dict[str, Any] = {"version": "v", "default": COSTS, "key": "secret"}
    return Policy(**given | options)


def rule(action: Action, priority: int = 0) -> Rule:
    return Rule(name=action, when="amount > 0", action=action, priority=priority)


@pytest.mark.parametrize(
    ("amount", "probability", "outcome"),
    [
        (20.0, 0.0, "approve"),
        (20.0, 0.05, "approve"),  # a loss of 1.75 is cheaper than an analyst at 4
        (20.0, 0.99, "decline"),
        (1000.0, 0.05, "review"),  # a loss of 50 is not
        (1000.0, 0.99, "decline"),
        (1000.0, 0.019, "approve"),  # 19 at stake, but below the floor
        (0.0, 1.0, "decline"),
    ],
)
def test_the_cheapest_outcome_is_chosen(amount: float, probability: float, outcome: str) -> None:
    choice = load_policy(FRAUD.policy, Transaction).choose(payment(amount=amount), probability)
    assert (choice.outcome, choice.propensity) == (outcome, 1.0)


def test_expected_costs_are_those_of_the_table() -> None:
    choice = policy().choose(payment(amount=85.0), 0.5)
    insult = 2.55 + 8.0
    review = 4.0 + 0.5 * 0.1 * 100.0 + 0.5 * (0.02 * insult + 0.5)
    assert choice.expected_cost == pytest.approx({"approve": 50.0, "review": review, "decline": 0.5 * insult})


@given(shares, amounts, shares, shares, shares, amounts)
def test_no_outcome_is_cheaper_than_the_chosen(
    probability: float, amount: float, recall: float, alarm: float, margin: float, goodwill: float
) -> None:
    costs = msgspec.structs.replace(
        COSTS, review_recall=recall, review_false_alarm=alarm, lost_margin=margin, goodwill=goodwill, review_floor=0.0
    )
    choice = policy(default=costs).choose(payment(amount=amount), probability)
    assert choice.expected._asdict()[choice.outcome] == min(choice.expected)
    assert choice.expected == expected_costs(costs, probability, amount)


@given(shares, shares, amounts)
def test_a_higher_probability_is_never_treated_more_mildly(one: float, other: float, amount: float) -> None:
    costs = msgspec.structs.replace(COSTS, review_wait=0.0)
    outcomes = [policy(default=costs).choose(payment(amount=amount), p).outcome for p in sorted((one, other))]
    assert Severity[outcomes[0]] <= Severity[outcomes[1]]


@given(shares, amounts)
def test_a_sure_review_that_costs_nothing_is_never_worse(probability: float, amount: float) -> None:
    free = msgspec.structs.replace(COSTS, review_recall=1.0, minute_cost=0.0, review_false_alarm=0.0, review_wait=0.0)
    assert expected_costs(free, probability, amount).review == 0.0


def test_segments_are_asked_in_their_order() -> None:
    dear = msgspec.structs.replace(COSTS, minute_cost=9.0)
    segments = [Segment("first", lambda r: r.amount > 50, dear), Segment("second", lambda r: True, COSTS)]
    chosen = [policy(segments=segments).choose(payment(amount=amount), 0.5) for amount in (60.0, 40.0)]
    assert [one.segment for one in chosen] == ["first", "second"]


def test_without_an_analyst_the_next_cheapest_is_chosen() -> None:
    short = policy(analysts=HOURLY)
    at_stake = [(1e5, 0.15), (1e5, 0.15), (1e5, 0.15), (400.0, 0.03)]
    outcomes = [short.choose(payment(amount=amount), probability).outcome for amount, probability in at_stake]
    assert outcomes == ["review", "review", "decline", "approve"]


def test_an_approving_rule_takes_no_analysts_time() -> None:
    short = policy(analysts=HOURLY)
    for _ in range(5):
        assert short.choose(payment(amount=1e5), 0.15, [rule("approve")]).outcome == "approve"
        assert short.choose(payment(amount=1e5), 0.15, [rule("decline")]).outcome == "decline"
    assert short.choose(payment(amount=1e5), 0.15).outcome == "review"


def test_a_reviewing_rule_is_not_refused_and_its_minutes_are_owed() -> None:
    short = policy(analysts=HOURLY)
    assert [short.choose(payment(amount=1.0), 0.0, [rule("review")]).outcome for _ in range(5)] == ["review"] * 5
    assert isinstance(short.budget, OwnBudget)
    assert short.budget.minutes == pytest.approx(-12.0, abs=0.1)
    assert short.choose(payment(amount=1e5), 0.15).outcome == "decline"


def simulated(chooser: Policy, count: int, **fields: Any) -> list[PolicyChoice]:
    return [chooser.choose(payment(f"e{number}", **fields), 0.99) for number in range(count)]


def test_the_recorded_propensity_is_how_often_it_happens() -> None:
    chosen = simulated(policy(let_through=LETS), 20_000, amount=50.0)
    happened = Counter((one.outcome, round(one.propensity, 6)) for one in chosen)
    assert happened.keys() == {("approve", SHARE), ("decline", 1 - SHARE)}
    for (_, propensity), count in happened.items():
        assert count / len(chosen) == pytest.approx(propensity, abs=4 * (SHARE * (1 - SHARE) / len(chosen)) ** 0.5)


def test_weighting_by_propensity_recovers_what_all_would_have_cost() -> None:
    # Only who is let through shows whether it was fraud; here every third was.
    chosen = simulated(policy(let_through=LETS), 30_000, amount=50.0)
    seen = sum((number % 3 == 0) / one.propensity for number, one in enumerate(chosen) if one.outcome == "approve")
    assert seen / len(chosen) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"let_through": LetThrough()}, {"amount": 50.0}),
        ({"let_through": LETS}, {"amount": 100.01}),
        ({"let_through": msgspec.structs.replace(LETS, daily_limit=0)}, {"amount": 50.0}),
    ],
)
def test_what_is_not_subject_to_a_draw_is_declined_for_sure(options: dict[str, Any], fields: dict[str, Any]) -> None:
    chosen = simulated(policy(**options), 500, **fields)
    assert {(one.outcome, one.propensity) for one in chosen} == {("decline", 1.0)}


def test_only_would_be_declines_are_drawn() -> None:
    chosen = [policy(let_through=LETS).choose(payment(f"e{n}", amount=99.0), 0.1) for n in range(200)]
    assert {(one.outcome, one.propensity) for one in chosen} == {("review", 1.0)}


@pytest.mark.parametrize("action", ["approve", "review", "decline"])
def test_where_a_rule_decides_nothing_is_drawn(action: Action) -> None:
    fired = [rule(action)]
    chosen = [policy(let_through=LETS).choose(payment(f"e{n}", amount=50.0), 0.99, fired) for n in range(300)]
    expected: Outcome = overrule("decline", fired)
    assert {(one.outcome, one.propensity) for one in chosen} == {(expected, 1.0)}


def test_a_retry_draws_the_same_and_another_key_does_not() -> None:
    first, again = (simulated(policy(let_through=LETS), 500, amount=50.0) for _ in range(2))
    assert first == again
    assert simulated(policy(let_through=LETS, key="other"), 500, amount=50.0) != first


def test_no_more_than_the_days_limit_are_let_through_and_the_rest_is_sure() -> None:
    now_s = [86_400.0 * 100]
    chooser = policy(let_through=LETS)
    chooser.budget = OwnBudget(None, daily_limit=7, calendar=lambda: now_s[0])
    for _ in range(2):
        chosen = simulated(chooser, 1000, amount=50.0)
        assert sum(one.outcome == "approve" for one in chosen) == 7
        last = max(number for number, one in enumerate(chosen) if one.outcome == "approve")
        assert {one.propensity for one in chosen[last + 1 :]} == {1.0}
        assert {round(one.propensity, 6) for one in chosen[: last + 1]} == {SHARE, 1 - SHARE}
        now_s[0] += 86_400.0


def test_draws_lie_evenly_in_zero_to_one() -> None:
    drawn = [policy().draw(f"event {number}") for number in range(10_000)]
    assert 0.0 <= min(drawn) < 0.001
    assert 0.999 < max(drawn) < 1.0
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.02)
