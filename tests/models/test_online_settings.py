"""No setting lies outside of its range, and no label throws the weights, whatever its vector."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.online import OnlineLearner
from models.online_settings import InvalidOnlineSettings
from models.snapshot import InvalidWeights, OnlineSettings, OnlineWeights

NAMES = ("amount", "count", "speed", "age")
ROUNDING = 1e-9


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 0.0, "a number above 0, at most 0.1"),
        ("learning_rate", 0.2, "a number above 0, at most 0.1"),
        ("learning_rate", math.nan, "a number above 0, at most 0.1"),
        ("l2", -1e-9, "a number from 0, at most 0.1"),
        ("fraud_weight", 0.5, "a number from 1, at most 20"),
        ("fraud_weight", math.inf, "a number from 1, at most 20"),
        ("step_limit", 0, "a number above 0, at most 1"),
        ("prior_fraud_rate", 1.0, "a number from 1e-06, at most 0.5"),
        ("min_labels", 0, "a whole number from 1, at most 1e+06"),
        ("min_labels", 2.5, "a whole number from 1"),
        ("warm_up", True, "a whole number from 1, at most 1000"),
        ("reach", "wide", "a number from 2, at most 1000"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_with_its_name_its_value_and_the_range(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(InvalidOnlineSettings) as refused:
        OnlineSettings(**{name: value})
    assert str(refused.value).startswith(f"the online model's {name} is {value!r}; give {allowed}")


def test_every_setting_has_a_range_and_its_ends_are_allowed() -> None:
    assert OnlineSettings(learning_rate=0.1, l2=0, fraud_weight=20, step_limit=1, prior_fraud_rate=0.5, warm_up=1000)
    assert OnlineSettings(l2=0.1, fraud_weight=1, prior_fraud_rate=1e-6, min_labels=1, warm_up=1, reach=2)


def test_stored_weights_with_a_setting_out_of_its_range_are_no_weights() -> None:
    content = OnlineLearner(NAMES).to_weights().to_json().replace(b'"learning_rate":0.005', b'"learning_rate":5.0')
    with pytest.raises(InvalidWeights, match="learning_rate"):
        OnlineWeights.from_json(content)


def test_weights_of_before_the_step_limit_are_gone_on_from() -> None:
    weights = OnlineLearner(NAMES).to_weights()
    before = msgspec.to_builtins(weights)
    del before["settings"]["step_limit"]
    assert OnlineWeights.from_json(msgspec.json.encode(before)) == weights


wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 1e12, -1e12, 1.7e308, 5e-324, math.nan, math.inf]),
)
vectors = st.lists(wild, min_size=len(NAMES), max_size=len(NAMES))
chosen = st.builds(
    OnlineSettings,
    learning_rate=st.floats(1e-6, 0.1),
    l2=st.floats(0.0, 0.1),
    fraud_weight=st.floats(1.0, 20.0),
    step_limit=st.floats(1e-3, 1.0),
    prior_fraud_rate=st.floats(1e-6, 0.5),
    warm_up=st.integers(1, 5),
    reach=st.floats(2.0, 1000.0),
)


@settings(max_examples=150, deadline=None)
@given(
    chosen=chosen,
    steps=st.lists(st.tuples(vectors, st.sampled_from([True, False, None])), min_size=1, max_size=20),
    start=st.lists(st.floats(-1e3, 1e3), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_label_moves_the_weights_further_than_is_stated_and_nothing_makes_them_other_than_finite(
    chosen: OnlineSettings, steps: list[tuple[list[float], bool | None]], start: list[float]
) -> None:
    begun = OnlineLearner(NAMES, settings=chosen).to_weights()
    learner = OnlineLearner.from_weights(msgspec.structs.replace(begun, coefficients=tuple(start)))
    bound = chosen.step_bound(len(NAMES))
    for vector, verdict in steps:
        x = np.array(vector)
        learner.observe(x)
        before = learner.to_weights()
        said = math.nan if verdict is None else learner.learn_one(x, verdict)
        after = learner.to_weights()
        # The pull towards 0 is no label's doing: it is taken out.
        kept = (1.0 - chosen.learning_rate * chosen.l2) if verdict is not None else 1.0
        moved = np.array(after.coefficients) - kept * np.array(before.coefficients)
        assert np.linalg.norm(moved) <= bound.weights + ROUNDING * (1.0 + np.linalg.norm(before.coefficients))
        assert abs(after.intercept - before.intercept) <= bound.intercept + ROUNDING
        assert np.isfinite([*after.coefficients, *after.means, *after.variances, after.intercept]).all()
        assert verdict is None or 0.0 <= said <= 1.0
        assert OnlineWeights.from_json(after.to_json()) == after


def test_the_limit_holds_a_step_that_would_be_longer() -> None:
    chosen = OnlineSettings(warm_up=1, step_limit=0.01, learning_rate=0.1, fraud_weight=20.0)
    learner = OnlineLearner(NAMES, settings=chosen)
    for value in (0.0, 1.0):
        learner.observe(np.full(len(NAMES), value))
    learner.learn_one(np.full(len(NAMES), 1e12), True)
    assert np.linalg.norm(learner.to_weights().coefficients) == pytest.approx(0.01)


def test_learning_says_what_it_would_have_said_before() -> None:
    learner = OnlineLearner(NAMES, settings=OnlineSettings(warm_up=1, fraud_weight=3.0))
    rng = np.random.default_rng(0)
    for number in range(50):
        x = rng.normal(size=len(NAMES))
        learner.observe(x)
        said = learner.score_one(x)
        assert learner.learn_one(x, number % 3 == 0) == said
