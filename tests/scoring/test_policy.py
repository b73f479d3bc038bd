from __future__ import annotations

from pathlib import Path

import pytest

from scoring.policy import InvalidPolicy, load_policy
from scoring.use_case import FRAUD
from stream.records import Transaction
from tests.scoring.conftest import payment

COSTS = """
chargeback_fee = 15.0
lost_margin = 0.03
goodwill = 8.0
review_cost = 4.0
review_recall = 0.9
review_floor = 0.02
"""
GOOD = f'version = "v"\n[default]{COSTS}'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


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
    assert choice.outcome == outcome


def test_expected_costs_are_those_of_the_comments(tmp_path: Path) -> None:
    choice = load_policy(written(tmp_path, GOOD), Transaction).choose(payment(amount=85.0), 0.5)
    assert choice.expected_cost == pytest.approx({"approve": 50.0, "review": 9.0, "decline": 0.5 * (2.55 + 8.0)})


def test_the_first_segment_that_applies_counts_with_its_own_numbers(tmp_path: Path) -> None:
    segments = """
[[segments]]
name = "dollars"
when = "currency == 'USD'"
review_cost = 0.0
[[segments]]
name = "large"
when = "amount >= 100"
review_cost = 1.0
"""
    policy = load_policy(written(tmp_path, GOOD + segments), Transaction)
    chosen = [
        policy.choose(payment(amount=200.0, currency="USD"), 0.0),
        policy.choose(payment(amount=200.0), 0.0),
        policy.choose(payment(amount=99.0), 0.0),
    ]
    assert [(one.segment, one.expected_cost["review"]) for one in chosen] == [
        ("dollars", 0.0),
        ("large", 1.0),
        ("default", 4.0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", ["cannot be read"]),
        (GOOD.replace("version", "versoin"), ["'versoin'", "it may have default, segments, version"]),
        ("version = 'v'", ["[default]"]),
        (GOOD.replace("goodwill", "godwill"), ["default", "godwill", "the settings are chargeback_fee"]),
        (GOOD.replace("0.9", "1.9"), ["review_recall", "<= 1.0"]),
        (GOOD.replace("8.0", "nan"), ["goodwill"]),
        (GOOD.replace("8.0", "inf"), ["goodwill", "<= 1"]),
        (GOOD.replace("8.0", "'much'"), ["goodwill", "float"]),
        (GOOD + "[[segments]]\nname = 'x'\nwhen = 'amont > 1'", ["'x'", "'when'", "did you mean 'amount'?", "^"]),
        (GOOD + "[[segments]]\nname = 'x'", ["'x'", "'when'"]),
        (GOOD + "[[segments]]\nname = 'x'\nwhen = 'amount > 1'\nreview_cots = 1", ["'x'", "review_cots"]),
        ("segments = 'none'\n" + GOOD, ["'segments'", "[[segments]]"]),
        (GOOD + "[segments]\nname = 'x'", ["'segments'", "[[segments]]"]),
    ],
)
def test_a_bad_file_names_itself_the_setting_and_the_remedy(tmp_path: Path, text: str, says: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidPolicy) as refused:
        load_policy(path, Transaction)
    for part in [str(path), *says]:
        assert part in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match=r"nowhere\.toml cannot be read"):
        load_policy(tmp_path / "nowhere.toml", Transaction)
