from __future__ import annotations

from pathlib import Path

import pytest

from scoring.policy_file import InvalidPolicy, load_policy
from scoring.use_case import FRAUD
from stream.records import Action, Transaction
from tests.scoring.conftest import payment

COSTS = """
lost_amount = 1.0
chargeback_fee = 15.0
lost_margin = 0.03
goodwill = 8.0
review_minutes = 4.0
minute_cost = 1.0
review_recall = 0.9
review_false_alarm = 0.02
review_wait = 0.0
review_floor = 0.02
"""
GOOD = f'name = "v"\n[default]{COSTS}'
ANALYSTS = "[analysts]\nminutes_per_hour = 60\nbacklog_minutes = 30\nhighest_price = 10\n"
LET_THROUGH = "[let_through]\nshare = 0.05\nlargest_amount = 50\ndaily_limit = 10\n"
DOLLARS = "[[segments]]\nname = 'dollars'\nwhen = \"currency == 'USD'\"\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


def version(tmp_path: Path, text: str) -> str:
    return load_policy(written(tmp_path, text), Transaction, key="k").version


def test_the_first_segment_that_applies_counts_with_its_own_numbers(tmp_path: Path) -> None:
    large = "[[segments]]\nname = 'large'\nwhen = 'amount >= 100'\nminute_cost = 2.0\n"
    policy = load_policy(written(tmp_path, GOOD + DOLLARS + "minute_cost = 0.0\n" + large), Transaction)
    records = [payment(amount=200.0, currency="USD"), payment(amount=200.0), payment(amount=99.0)]
    chosen = [policy.choose(record, 1.0) for record in records]
    assert [one.segment for one in chosen] == ["dollars", "large", "default"]
    assert [one.expected.review for one in chosen] == pytest.approx([21.5, 8 + 21.5, 4 + 11.4])


def test_amounts_are_brought_to_one_currency(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, GOOD + "[currency_rates]\nJPY = 0.006\n"), Transaction)
    yen = policy.choose(payment(amount=10_000.0, currency="JPY"), 0.5)
    assert yen.expected == pytest.approx(policy.choose(payment(amount=60.0), 0.5).expected)


def test_the_version_follows_the_numbers_and_not_the_words(tmp_path: Path) -> None:
    plain = version(tmp_path, GOOD + ANALYSTS + DOLLARS)
    assert plain.startswith("v-")
    assert version(tmp_path, "# why\n" + GOOD.replace("8.0", "8") + DOLLARS + ANALYSTS) == plain
    others = [
        (GOOD + ANALYSTS + DOLLARS).replace(*change)
        for change in (("8.0", "8.1"), ("'USD'", "'GBP'"), ("= 30", "= 31"), ('"v"', '"w"'))
    ]
    others += [GOOD + ANALYSTS + DOLLARS + LET_THROUGH, GOOD + ANALYSTS + DOLLARS + "[currency_rates]\nJPY = 1.0\n"]
    assert len({plain, *(version(tmp_path, text) for text in others)}) == 1 + len(others)


def test_the_shipped_policy_loads_and_lets_nothing_through() -> None:
    policy = load_policy(FRAUD.policy, FRAUD.source)
    assert policy.let_through.share == 0.0
    assert policy.analysts is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", ["cannot be read"]),
        (GOOD.replace("name", "nmae"), ["'nmae'", "it may have name, default, segments"]),
        ("name = 'v'", ["[default]", "write it, with chargeback_fee"]),
        (GOOD.replace('"v"', '""'), ["'name'", "''", "1 to 64 characters"]),
        (GOOD.replace("goodwill", "godwill"), ["default", "godwill has 8.0", "the settings are chargeback_fee"]),
        (GOOD.replace("review_wait = 0.0\n", ""), ["review_wait has (missing)"]),
        (GOOD.replace("0.9", "1.9"), ["review_recall has 1.9", "<= 1.0"]),
        (GOOD.replace("8.0", "nan"), ["goodwill has nan"]),
        (GOOD.replace("8.0", "inf"), ["goodwill has inf"]),
        (GOOD.replace("8.0", "'much'"), ["goodwill has 'much'", "float"]),
        (GOOD.replace("4.0", "0"), ["review_minutes has 0", "> 0"]),
        (GOOD + "[[segments]]\nname = 'x'\nwhen = 'amont > 1'", ["'x'", "'when'", "did you mean 'amount'?", "^"]),
        (GOOD + "[[segments]]\nname = 'x'", ["'x'", "'when' has None"]),
        (GOOD + "[[segments]]\nwhen = 'amount > 1'", ["'name' None", "a name of its own"]),
        (GOOD + DOLLARS + DOLLARS, ["'name' 'dollars'", "a name of its own"]),
        (GOOD + DOLLARS + "review_cots = 1", ["'dollars'", "review_cots has 1"]),
        ("segments = 'none'\n" + GOOD, ["'segments'", "[[segments]]"]),
        (GOOD + "[segments]\nname = 'x'", ["'segments'", "[[segments]]"]),
        ("analysts = 5\n" + GOOD, ["[analysts]", "minutes_per_hour"]),
        (GOOD + ANALYSTS.replace("60", "0"), ["'analysts'", "minutes_per_hour has 0"]),
        (GOOD + ANALYSTS.replace("30", "3"), ["review_minutes has 4", "backlog_minutes only 3", "raise"]),
        (GOOD + ANALYSTS + DOLLARS + "review_minutes = 31", ["'dollars'", "review_minutes has 31"]),
        (GOOD + LET_THROUGH.replace("0.05", "0.2"), ["'let_through'", "share has 0.2", "<= 0.1"]),
        (GOOD + LET_THROUGH.replace("= 10", "= 0"), ["daily_limit has 0", "share = 0"]),
        (GOOD + LET_THROUGH.replace("= 50", "= 0"), ["largest_amount has 0", "share = 0"]),
        (GOOD + "[currency_rates]\neur = 1.0", ["'currency_rates'", "eur"]),
        (GOOD + "[currency_rates]\nUSD = 0", ["'currency_rates'", "has 0"]),
    ],
)
def test_a_bad_file_names_itself_the_setting_the_value_and_the_remedy(
    tmp_path: Path, text: str, says: list[str]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidPolicy) as refused:
        load_policy(path, Transaction, key="k")
    for part in [str(path), *says]:
        assert part in str(refused.value)


def test_letting_through_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="set HEADRACE_LET_THROUGH_KEY"):
        load_policy(written(tmp_path, GOOD + LET_THROUGH), Transaction)


def test_a_record_without_a_currency_takes_no_rates(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="Action has no currency"):
        load_policy(written(tmp_path, GOOD + "[currency_rates]\nJPY = 1.0\n"), Action)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match=r"nowhere\.toml cannot be read"):
        load_policy(tmp_path / "nowhere.toml", Transaction)
