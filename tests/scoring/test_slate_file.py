"""The slate policy: what its file says is what happens, and what it cannot say is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.slate import Contenders, Exposures
from scoring.slate_file import SHIPPED, InvalidSlatePolicy, load_slate_policy, read_slate_policy
from scoring.slate_rules import InvalidSlateRule, SlateItem, SlateRule, SlateRules

GOOD = "name = 'x'\n[default]\nk = 3\n"
EXPLORE = "[default.exploration]\nplaces = [2]\n"


def rule(when: str, action: str = "hide", boost: float | None = None, name: str = "r") -> str:
    lines = ["[[rules]]", f"name = '{name}'", f'when = "{when}"', f"action = '{action}'"]
    return "\n".join(lines + ([] if boost is None else [f"boost = {boost}"])) + "\n"


def item(n: int, price: float = 10.0, category: str | None = "film") -> SlateItem:
    return SlateItem(f"i{n}", category, f"title {n}", price, float(n), 0.5, "trending")


def contenders(scores: Sequence[float]) -> Contenders:
    n = len(scores)
    return Contenders(
        np.arange(n, dtype=np.int32),
        np.array(scores, dtype=np.float64),
        np.zeros(n, dtype=np.int8),
        np.full(n, -1, dtype=np.int32),
        np.zeros(n, dtype=np.bool_),
    )


def items(text: str, scores: Sequence[float], scenario: str = "", prices: Sequence[float] = ()) -> list[int]:
    policy = read_slate_policy(text)
    seen = [item(n, price) for n, price in enumerate(prices or [10.0] * len(scores))]
    return [place.item for place in policy.compose(contenders(scores), lambda: seen, scenario=scenario).places]


def test_the_shipped_policy_loads_explores_and_has_no_rules() -> None:
    policy = load_slate_policy()
    assert policy.version.startswith("slate-policy-")
    assert policy.default.exploration.places
    assert not policy.rules
    assert policy.settings("anything") is policy.default


def test_a_hidden_item_enters_no_place_also_where_it_explores() -> None:
    policy = read_slate_policy(GOOD + EXPLORE + rule("price > 50"))
    seen = [item(n, 99.0 if n % 2 else 10.0) for n in range(20)]
    for seed in range(50):
        exposures = Exposures(np.zeros(20), np.zeros(20), seed)
        slate = policy.compose(contenders([0.5] * 20), lambda: seen, exposures=exposures)
        assert len(slate.places) == 3
        assert slate.places[1].explored
        for place in slate.places:
            assert not {n for n in (place.item, *place.arms) if n % 2}
        assert slate.fired == ("r",)


def test_a_boost_moves_an_item_up_and_several_multiply() -> None:
    scores, prices = [0.5, 0.4, 0.3], [10.0, 20.0, 30.0]
    once = rule("price >= 30", "boost", 1.5)
    assert items(GOOD + once, scores, prices=prices) == [0, 2, 1]
    assert items(GOOD + once + rule("price > 25", "boost", 1.5, "again"), scores, prices=prices) == [2, 0, 1]


def test_a_boost_lifts_a_score_below_zero_too() -> None:
    assert items(GOOD + rule("price == 30", "boost", 10.0), [-0.2, -0.3], prices=[10.0, 30.0]) == [1, 0]


def test_a_rule_can_be_for_one_scenario_and_so_can_settings() -> None:
    text = GOOD + EXPLORE + "[scenarios.checkout]\nk = 1\n" + rule("scenario == 'checkout' and price > 15")
    assert items(text, [0.5, 0.6, 0.4], prices=[10.0, 20.0, 10.0]) == [1, 0, 2]
    assert items(text, [0.5, 0.6, 0.4], "checkout", [10.0, 20.0, 10.0]) == [0]
    policy = read_slate_policy(text)
    assert policy.settings("checkout").exploration == policy.default.exploration


def test_a_price_that_nobody_knows_satisfies_no_comparison() -> None:
    assert items(GOOD + rule("price > 0"), [0.5, 0.4], prices=[math.nan, 10.0]) == [0]
    assert items(GOOD + rule("price <= 0"), [0.5, 0.4], prices=[math.nan, 10.0]) == [0, 1]
    assert items(GOOD + rule("is_null(price)"), [0.5, 0.4], prices=[math.nan, 10.0]) == [1]


def test_without_rules_nobody_asks_what_items_are() -> None:
    def never() -> Sequence[SlateItem]:
        raise AssertionError

    assert len(read_slate_policy(GOOD).compose(contenders([0.5]), never).places) == 1
    assert read_slate_policy(GOOD + rule("price > 1")).compose(contenders([0.5]), never, k=0).places == []
    assert read_slate_policy(GOOD + rule("price > 1")).compose(contenders([]), never).places == []


def test_rules_of_another_scenario_have_nobody_describe_items() -> None:
    policy = read_slate_policy(
        GOOD + rule("price > 5 and scenario == 'checkout'") + rule("scenario in ('home', 'list')", "boost", 2.0, "b")
    )

    def described() -> list[SlateItem]:
        raise LookupError("asked")

    assert len(policy.compose(contenders([0.5] * 4), described, scenario="basket").places) == 3
    for scenario in ("checkout", "home"):
        with pytest.raises(LookupError):
            policy.compose(contenders([0.5] * 4), described, scenario=scenario)
    assert SlateRules([SlateRule(name="r", when="scenario == 'a' or price > 5", action="hide")]).may_hold("b")


def test_everything_hidden_is_an_empty_slate() -> None:
    assert items(GOOD + rule("price >= 0"), [0.5, 0.4]) == []


def test_a_rule_that_cannot_be_asked_is_named_and_the_others_answer() -> None:
    rules = SlateRules(
        [
            SlateRule(name="odd", when="price / 2 > 1", action="hide"),
            SlateRule(name="good", when="category == 'film'", action="boost", boost=2.0),
        ]
    )
    ruled = rules.apply([item(1)._replace(price="dear")])  # type: ignore[arg-type]
    assert ruled.broken == ("odd",)
    assert ruled.fired == ("good",)
    assert ruled.boosts.tolist() == [2.0]


def test_many_boosts_together_stay_within_their_bound() -> None:
    rules = SlateRules([SlateRule(name=f"r{n}", when="price > 0", action="boost", boost=100.0) for n in range(40)])
    assert rules.apply([item(1)]).boosts.tolist() == [100.0]


def test_two_rules_of_one_name_are_refused() -> None:
    same = SlateRule(name="r", when="price > 1", action="hide")
    with pytest.raises(InvalidSlateRule, match="two rules are called 'r'; rename one"):
        SlateRules([same, same])


def test_the_version_follows_what_changes_slates_and_not_the_words() -> None:
    text = GOOD + EXPLORE + "[scenarios.a]\nk = 2\n" + rule("price > 50")
    plain = read_slate_policy(text).version
    assert read_slate_policy("# why\n" + text + "because = 'dear'\n").version == plain
    changes = [
        ("k = 3", "k = 4"),
        ("[2]", "[3]"),
        ("k = 2", "k = 1"),
        ("> 50", "> 51"),
        ("'hide'", "'boost'\nboost = 2"),
    ]
    versions = {read_slate_policy(text.replace(*change)).version for change in changes}
    assert len(versions | {plain}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", ["cannot be read"]),
        ("nmae = 'x'", ["'nmae'", "it may have name, default"]),
        ("name = ''", ["'name'", "1 to 64 characters"]),
        ("name = 'x'\ndefault = 3", ["3 for [default]", "write it as a table"]),
        (GOOD.replace("3", "0"), ["'default'", "k has 0", ">= 1"]),
        (GOOD + "k_limit = 2", ["k has 3, above k_limit 2", "lower k"]),
        (GOOD + "mmr_lambda = nan", ["mmr_lambda has nan"]),
        (GOOD + "mmr_lambda = 0", ["mmr_lambda has 0"]),
        (GOOD + "category_cup = 2", ["category_cup has 2", "leave it out"]),
        (GOOD + "[default.exploration]\nplaces = [0]", ["places[0] has", ">= 1"]),
        (GOOD + "[default.exploration]\nplaces = [4, 4]", ["give each place once"]),
        (GOOD + "[default.exploration]\nplaces = [1, 2, 3]", ["places has [1, 2, 3]", "length <= 2"]),
        (GOOD + "[default.exploration]\nfloor = 0", ["floor has 0", ">= 0.01"]),
        (GOOD + "[default.exploration]\narms = 1", ["arms has 1", ">= 2"]),
        (GOOD + "[scenarios]\na = 1", ["'scenarios.a' has 1", "[scenarios.a]"]),
        (GOOD + "[scenarios.a]\nk = 500", ["'scenarios.a'", "k has 500"]),
        (GOOD + "[scenarios.a]\nexploration = 1", ["exploration has 1", "[scenarios.a.exploration]"]),
        (GOOD + rule("pric > 2"), ["rule 'r'", "did you mean 'price'?", "^"]),
        (GOOD + rule("price + 2"), ["rule 'r'", "a boolean is needed"]),
        (GOOD + rule("price > 2", "boost"), ["rule 1 ('r')", "give 'boost' too"]),
        (GOOD + rule("price > 2", "hide", 2.0), ["leave out 'boost'"]),
        (GOOD + rule("price > 2", "boost", 1e9), ["boost has 1000000000.0", "<= 100"]),
        (GOOD + rule("price > 2", "bury"), ["action has 'bury'"]),
        (GOOD + rule("price > 2") + rule("price > 3"), ["two rules are called 'r'"]),
        ("rules = [1]\n" + GOOD, ["rule 1 (None)"]),
        ("rules = 1\n" + GOOD, ["[[rules]]"]),
    ],
)
def test_a_bad_file_names_itself_the_setting_the_value_and_the_remedy(
    tmp_path: Path, text: str, says: list[str]
) -> None:
    path = tmp_path / "slate.toml"
    path.write_text(text)
    with pytest.raises(InvalidSlatePolicy) as refused:
        load_slate_policy(path)
    for part in [str(path), *says]:
        assert part in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSlatePolicy, match=r"nowhere\.toml cannot be read"):
        load_slate_policy(tmp_path / "nowhere.toml")


def test_what_the_shipped_file_shows_as_an_example_can_be_written() -> None:
    lines = SHIPPED.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("# [scenarios"))
    shown = [line.removeprefix("#").strip() for line in lines[first:] if not line.startswith("# Business")]
    policy = read_slate_policy("\n".join([*lines[:first], *shown]))
    assert policy.settings("checkout").k == 4
    assert [one.action for one in policy.rules.rules] == ["hide", "boost"]
