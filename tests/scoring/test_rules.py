from __future__ import annotations

import math
from pathlib import Path

import pytest

from scoring.rules import InvalidRule, Rule, RuleSet, load_rules, overrule
from scoring.use_case import FRAUD
from stream.records import Outcome
from tests.scoring.conftest import NAMES, payment

UNKNOWN = [math.nan] * len(NAMES)


def rule(name: str, when: str, action: Outcome = "review") -> Rule:
    return Rule(name=name, when=when, action=action)


def rules(*when: str) -> RuleSet:
    return RuleSet([rule(f"rule {i}", text) for i, text in enumerate(when)], FRAUD.features)


def vector(**known: float) -> list[float]:
    return [known.get(name, math.nan) for name in NAMES]


def test_the_rules_that_fire_come_in_their_order() -> None:
    live = rules("amount > 10", "amount > 100", "card_count_1h >= 3")
    assert [one.name for one in live.fired(payment(amount=20.0), vector(card_count_1h=3.0))] == ["rule 0", "rule 2"]


def test_no_rules_fire_nothing() -> None:
    assert rules().fired(payment(), UNKNOWN) == []


def test_a_null_feature_fires_nothing() -> None:
    live = rules("card_count_1h > 0", "card_count_1h <= 0", "card_count_1h != 1", "speed_kmh > 10", "latitude < 90")
    assert live.fired(payment(), UNKNOWN) == []


@pytest.mark.parametrize(
    ("policy", "fired", "outcome"),
    [
        ("approve", [], "approve"),
        ("decline", [], "decline"),
        ("approve", ["review"], "review"),
        ("decline", ["review"], "decline"),
        ("review", ["decline"], "decline"),
        ("approve", ["review", "decline", "review"], "decline"),
        ("decline", ["approve"], "approve"),
        ("review", ["approve", "decline"], "decline"),
        ("approve", ["approve", "review"], "review"),
    ],
)
def test_the_strictest_wins_and_approve_counts_alone(policy: Outcome, fired: list[Outcome], outcome: Outcome) -> None:
    assert overrule(policy, [rule(action, "amount > 0", action) for action in fired]) == outcome


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRule, match="two rules are called 'same'; rename one"):
        RuleSet([rule("same", "amount > 1"), rule("other", "amount > 1"), rule("same", "amount > 2")], FRAUD.features)


@pytest.mark.parametrize(
    ("when", "complaint"),
    [
        ("amount > 1 and card_cont_1h > 2", "did you mean 'card_count_1h'?"),
        ("amount > 1 and 'much'", "this is a text; a boolean is needed here"),
        ("amount > 1 and __import__('os')", "there is no function '__import__'"),
    ],
)
def test_an_error_names_the_rule_and_points_at_the_character(when: str, complaint: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        RuleSet([rule("mine", when)], FRAUD.features)
    message, text, pointer = str(refused.value).split("\n")
    assert message.startswith("rule 'mine': ")
    assert complaint in message
    assert pointer.index("^") == text.index(when) + len("amount > 1 and ")


@pytest.mark.parametrize(
    ("name", "amount", "known"),
    [
        ("card-testing", 1.0, {"card_small_count_1h": 6.0, "card_distinct_merchant_id_1h": 1.0}),
        ("impossible-travel", 60.0, {"speed_kmh": 5000.0, "distance_km": 6000.0}),
        ("device-of-many-cards", 60.0, {"device_distinct_card_id_1d": 8.0}),
    ],
)
def test_each_shipped_rule_can_fire(name: str, amount: float, known: dict[str, float]) -> None:
    shipped = load_rules(FRAUD.rules, FRAUD.features)
    assert [one.name for one in shipped.fired(payment(amount=amount), vector(**known))] == [name]
    assert len(shipped.rules) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[[rules]",
        "[[rule]]\nname = 'x'\nwhen = 'amount > 1'\naction = 'review'",  # else a file without rules
        "[[rules]]\nname = 'x'\nwhen = 'amount > 1'\naction = 'refuse'",
        "[[rules]]\nname = ''\nwhen = 'amount > 1'\naction = 'review'",
        "[[rules]]\nname = 'x'\naction = 'review'",
        "rules = 3",
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InvalidRule, match=r"rules\.toml cannot be read"):
        load_rules(path, FRAUD.features)
