"""Rules are found where frauds differ, in round numbers, and none where they do not."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from features.expression import parse
from training.rule_search import KEPT_ASIDE_FROM, search_rules

DRAW = np.random.default_rng(5)
CASES = 900
AMOUNT = DRAW.lognormal(3.5, 1.2, CASES)
COUNT = DRAW.poisson(2.0, CASES).astype(float)
CURRENCY = list(DRAW.choice(["EUR", "USD"], CASES, p=[0.8, 0.2]))
NUMBERS = {"amount": AMOUNT, "count": COUNT} | {f"noise{n}": DRAW.normal(size=CASES) for n in range(12)}
LARGE_AND_FAST = (AMOUNT > 200) & (COUNT >= 3)
IN_DOLLARS = np.array([one == "USD" for one in CURRENCY]) & (COUNT < 1)


def frauds(*kinds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    share = np.full(CASES, 0.04)
    for kind in kinds:
        share[kind] = 0.9
    drawn: npt.NDArray[np.bool_] = np.random.default_rng(1).random(CASES) < share
    return drawn


def test_two_kinds_of_fraud_are_two_short_rules_in_round_numbers() -> None:
    is_fraud = frauds(LARGE_AND_FAST, IN_DOLLARS)
    found = search_rules(NUMBERS, {"currency": CURRENCY}, is_fraud)
    large, in_dollars = sorted(found, key=lambda rule: rule.when)
    cut = re.fullmatch(r"amount >= (\d\d0) and count >= 3", large.when)
    assert cut and 180 <= int(cut[1]) <= 230
    assert in_dollars.when == "count < 1 and currency == 'USD'"
    for rule in found:
        assert rule.fraud / (rule.fraud + rule.legit) > 0.75
    assert large.fraud + large.legit == ((int(cut[1]) <= AMOUNT) & (COUNT >= 3)).sum()


def test_where_nothing_tells_them_apart_nothing_is_found() -> None:
    assert search_rules(NUMBERS, {"currency": CURRENCY}, np.random.default_rng(2).random(CASES) < 0.3) == []


def test_few_cases_are_enough_where_they_differ_much() -> None:
    amounts = np.array([900.0, 950.0, 990.0, 920.0, *range(5, 21)])
    assert len(amounts) < KEPT_ASIDE_FROM
    (rule,) = search_rules({"amount": amounts}, {}, np.arange(len(amounts)) < 4)
    assert (rule.when, rule.fraud, rule.legit) == ("amount >= 500", 4, 0)


def test_without_both_kinds_or_without_numbers_nothing_is_found() -> None:
    for is_fraud in (np.zeros(CASES, np.bool_), np.ones(CASES, np.bool_)):
        assert search_rules(NUMBERS, {}, is_fraud) == []
    assert search_rules({}, {}, frauds(LARGE_AND_FAST)) == []
    assert search_rules({"same": np.ones(CASES), "unknown": np.full(CASES, np.nan)}, {}, frauds(LARGE_AND_FAST)) == []


def test_what_is_unknown_fulfils_no_condition() -> None:
    amounts = AMOUNT.copy()
    amounts[::2] = np.nan
    for rule in search_rules({"amount": amounts, "count": COUNT}, {}, frauds(LARGE_AND_FAST)):
        if "amount" in rule.when:
            assert rule.fraud + rule.legit <= int(np.isfinite(amounts).sum())


def test_a_senders_words_are_quoted_or_left_out() -> None:
    hostile = ["x' or amount > 0 or currency == 'x", "back\\slash", "plain shop", "\u202eturned"]
    words = [hostile[number % 4] if number < 80 else "shop" for number in range(200)]
    found = search_rules({}, {"merchant_id": words}, np.arange(200) < 80)
    assert [rule.when for rule in found] == ["merchant_id == 'plain shop'"]
    for rule in found:
        parse(rule.when, {"merchant_id": "text"}, "boolean")
