from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from models.onnx import OnnxModel
from models.onnx_export import export, to_float32
from models.shap import ShapModel
from scoring.reasons import REASON_LIMIT, Explainer, with_rules
from scoring.rules import Action, Rule
from scoring.use_case import FRAUD
from tests.scoring.conftest import MANIFEST, NAMES, payment

EXPLAINER = Explainer(FRAUD.features)
AT = {name: index for index, name in enumerate(NAMES)}
KNOWN = ("amount", "card_count_1h", "card_count_10m", "device_count_7d", "distance_km", "hour", "card_max_amount_1d")
LEGIT = {"amount": 20.0, "card_count_1h": 1.0, "card_count_10m": 1.0, "device_count_7d": 11.0, "distance_km": 6.0}
LEGIT |= {"hour": 15.0, "card_max_amount_1d": 30.0}
Row = NDArray[np.float64]


def row(**values: float) -> Row:
    vector = np.full(len(NAMES), math.nan)
    for name, value in (LEGIT | values).items():
        vector[AT[name]] = value
    return vector


@pytest.fixture(scope="module")
def trained() -> tuple[OnnxModel, ShapModel]:
    """Fraud is much, often (in either window), far away, or on a device that is hardly used."""
    rng = np.random.default_rng(3)
    X = np.where(rng.random((4000, len(NAMES))) < 0.9, math.nan, 0.0)
    for name, usual in LEGIT.items():
        X[:, AT[name]] = np.round(usual * rng.lognormal(0.0, 1.0, len(X)), 1)
    X[:, AT["card_count_1h"]] = X[:, AT["card_count_10m"]] + (rng.random(len(X)) < 0.1)
    margin = (X[:, AT["amount"]] > 60) * 1.5 + (X[:, AT["card_count_1h"]] > 3) * 1.5
    margin += (X[:, AT["distance_km"]] > 20) * 1.5 + (X[:, AT["device_count_7d"]] < 4) * 2.0
    fraud = rng.random(len(X)) < 1 / (1 + np.exp(3.0 - 2 * margin))
    X = to_float32(X)
    content = export(HistGradientBoostingClassifier(max_iter=60).fit(X, fraud.astype(int)), X).content
    manifest = msgspec.structs.replace(MANIFEST, reference=LEGIT)
    return OnnxModel(content, manifest), ShapModel(content, manifest)


def test_a_low_value_that_raises_the_score_is_called_low(trained: tuple[OnnxModel, ShapModel]) -> None:
    model, read = trained
    for way in (read, None):
        first, *_ = EXPLAINER.explain(model, row(device_count_7d=1.0), payment(), way)
        assert first.text == "events of the device within 7d is 1, lower than usual for legit traffic: 11"


def test_what_pushed_the_score_down_is_no_reason(trained: tuple[OnnxModel, ShapModel]) -> None:
    model, read = trained
    vector = row(distance_km=80.0, device_count_7d=2.0, amount=10.0, card_max_amount_1d=7.0)
    score = model.score_one(vector)
    pushed_down = set()
    for name in LEGIT:
        usual = vector.copy()
        usual[AT[name]] = LEGIT[name]
        if model.score_one(usual) > score:
            pushed_down.add(name)
    assert pushed_down
    for way in (read, None):
        found = {reason.feature for reason in EXPLAINER.explain(model, vector, payment(), way)}
        assert {"distance_km", "device_count_7d"} <= found
        assert not found & pushed_down


def test_windows_that_jumped_together_are_one_reason(trained: tuple[OnnxModel, ShapModel]) -> None:
    model, read = trained
    found = EXPLAINER.explain(model, row(card_count_10m=9.0, card_count_1h=9.0), payment(), read)
    assert [reason.feature for reason in found][:1] in (["card_count_10m"], ["card_count_1h"])
    assert sum(reason.feature.startswith("card_count") for reason in found) == 1


def test_unknown_values_and_values_without_a_direction_are_worded_so() -> None:
    vector = row(hour=3.0)
    reference = EXPLAINER.usual.of(vector, LEGIT)
    texts = [
        EXPLAINER.reason(AT[name], value, reference, payment()).text
        for name, value in (("hour", 3.0), ("distance_km", math.nan), ("card_std_amount_30d", 4.0))
    ]
    assert texts == [
        "hour of the day, UTC is 03:00; usual for legit traffic is 15:00",
        "distance from the card's last place is unknown; usual for legit traffic is 6 km",
        "spread of amount of the card within 30d is 4; usual for legit traffic is unknown",
    ]


def test_counts_of_some_events_say_of_which() -> None:
    reference = EXPLAINER.usual.of(row(), LEGIT)
    text = EXPLAINER.reason(AT["merchant_fraud_count_7d"], 2.0, reference, payment()).text
    assert text.startswith("events of the merchant within 7d, where label == 'fraud' is 2")


def test_what_is_usual_is_this_cards_own_where_it_has_a_history(trained: tuple[OnnxModel, ShapModel]) -> None:
    model, read = trained
    vector = row(amount=900.0, card_count_30d=11.0, card_mean_amount_30d=(10 * 40.0 + 900.0) / 11)
    first, *_ = EXPLAINER.explain(model, vector, payment(amount=900.0), read)
    assert first.text == "the amount is 900.00 EUR, higher than usual for this card: 40.00 EUR"
    assert first.usual == pytest.approx(40.0)


def test_what_is_nearly_usual_is_not_named(trained: tuple[OnnxModel, ShapModel]) -> None:
    model, read = trained
    found = EXPLAINER.explain(model, row(distance_km=80.0, amount=20.3, card_count_1h=1.4), payment(), read)
    assert [reason.feature for reason in found] == ["distance_km"]


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(KNOWN), st.floats(0.0, 200.0)))
def test_every_reason_raises_the_score_and_is_worded_as_it_lies(
    trained: tuple[OnnxModel, ShapModel], values: dict[str, float]
) -> None:
    model, read = trained
    vector = row(**values)
    reference = EXPLAINER.usual.of(vector, LEGIT)
    for way in (read, None):
        found = EXPLAINER.explain(model, vector, payment(), way)
        assert len(found) <= REASON_LIMIT
        for reason in found:
            usual = vector.copy()
            usual[AT[reason.feature]] = reference.values[AT[reason.feature]]
            assert model.score_one(usual) <= model.score_one(vector) + 1e-6
            assert reason.value is not None
            assert reason.usual is not None
            if reason.feature != "hour":
                assert ("higher" if reason.value > reason.usual else "lower") in reason.text


class Nothing:
    """A model that finds nothing, or nothing that is a number."""

    manifest = MANIFEST

    def __init__(self, says: float) -> None:
        self.says = says

    def score_many(self, X: Row) -> Row:
        return np.full(len(X), self.says)


@pytest.mark.parametrize("says", [0.9, math.nan, 0.0, 1.0])
def test_a_model_that_singles_nothing_out_gives_no_reasons(says: float) -> None:
    assert EXPLAINER.explain(Nothing(says), row(amount=500.0), SimpleNamespace()) == []


def rule(action: Action, because: str = "", **fields: Any) -> Rule:
    return Rule(name=f"{action} it", when="amount > 0", action=action, because=because, **fields)


def test_rules_come_first_in_their_own_words() -> None:
    found = with_rules([], "decline", [rule("review"), rule("decline", "a stolen card"), rule("approve")], 0.2)
    assert [reason.text for reason in found] == ["a stolen card", "the rule 'review it' fired"]
    assert found[0].feature == "rule:decline it"


def test_a_rule_that_was_not_followed_or_only_tags_is_no_reason() -> None:
    found = with_rules([], "review", [rule("decline"), rule("tag", tag="x"), rule("add", add=-0.2)], 0.2)
    assert [reason.feature for reason in found] == ["score"]


def test_a_rule_that_raised_the_score_says_by_how_much() -> None:
    (found,) = with_rules([], "review", [rule("add", "a new merchant", add=0.25)], 0.4)
    assert (found.text, found.value) == ("a new merchant", 0.25)


def test_no_review_or_decline_is_without_a_reason() -> None:
    (found,) = with_rules([], "review", [], 0.1234)
    assert found.text == "the probability of fraud is 12.3%; no single feature stands out"
