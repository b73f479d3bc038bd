"""The third member: taken from the registry as the first, heard with its share, and missed by nobody."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from models.manifest import Manifest
from models.registry import Registry
from scoring.live_models import ModelFeed
from scoring.scorer import Scorer
from tests.models.slow_model import looping_artifact
from tests.scoring.conftest import AMOUNT, MANIFEST, NAMES, Says, live, payment

DAY_S = 86_400.0
NAME = "fraud-feedback"
OF_FEEDBACK: Manifest = msgspec.structs.replace(MANIFEST, name=NAME, created_at=datetime.now(UTC))


def three(feedback: Says, age_s: float = 0.0) -> Any:
    """Batch says 0.01 and online 0.05; feedback was trained so long ago."""
    models = live(Says(0.01), Says(0.05, version="1.1"))()
    models = replace(models, feedback=cast("Any", feedback), feedback_at_s=time.time() - age_s)
    return lambda: models


def champion(registry: Registry, version: str, artifact: bytes, **changes: Any) -> None:
    manifest = msgspec.structs.replace(OF_FEEDBACK, version=version, **changes)
    registry.alias(NAME, "champion", registry.register(artifact, manifest))


def present(feed: ModelFeed) -> str | None:
    feed.refresh()
    return None if feed.current.feedback is None else feed.current.feedback.version


def test_three_members_have_their_shares_and_are_named_in_the_decision(scorer: Scorer) -> None:
    scorer.models = three(Says(0.03, version="f7"))
    decision = scorer.score(payment())
    assert decision.score == pytest.approx(0.7 * 0.01 + 0.2 * 0.03 + 0.1 * 0.05)
    assert (decision.scores["feedback"].version, decision.scores["feedback"].score) == ("f7", 0.03)
    assert list(decision.scores) == ["batch", "feedback", "online"]
    assert decision.degraded == []


def test_without_a_feedback_member_nothing_is_missing(scorer: Scorer) -> None:
    scorer.models = live(Says(0.01), Says(0.05))
    decision = scorer.score(payment())
    assert decision.score == pytest.approx((0.7 * 0.01 + 0.1 * 0.05) / 0.8)
    assert decision.degraded == []


def test_one_that_nobody_has_trained_for_a_month_is_left_out_and_that_is_said(scorer: Scorer) -> None:
    scorer.models = three(Says(0.9), age_s=29.9 * DAY_S)
    assert scorer.score(payment("young")).degraded == []
    scorer.models = three(Says(0.9), age_s=30.1 * DAY_S)
    decision = scorer.score(payment("old"))
    assert decision.score == pytest.approx((0.7 * 0.01 + 0.1 * 0.05) / 0.8)
    assert decision.degraded == ["feedback model"]


@pytest.mark.parametrize("fault", [ValueError("broken"), float("nan"), 1.5])
def test_one_that_fails_is_left_out_and_the_others_answer(scorer: Scorer, fault: Any) -> None:
    scorer.models = three(Says(fault))
    decision = scorer.score(payment())
    assert decision.score == pytest.approx((0.7 * 0.01 + 0.1 * 0.05) / 0.8)
    assert (decision.degraded, list(decision.scores)) == (["feedback model"], ["batch", "online"])


def test_the_feed_follows_the_champion_and_its_absence_is_no_problem(feed: ModelFeed, registry: Registry) -> None:
    assert present(feed) is None
    assert "feedback" not in feed.problems
    champion(registry, "one", looping_artifact(len(NAMES), AMOUNT), created_at=datetime.now(UTC))
    assert present(feed) == "one"
    assert time.time() - feed.current.feedback_at_s == pytest.approx(0.0, abs=60)
    champion(registry, "two", looping_artifact(len(NAMES), AMOUNT), created_at=datetime.now(UTC) - timedelta(days=9))
    assert present(feed) == "two"
    assert time.time() - feed.current.feedback_at_s == pytest.approx(9 * DAY_S, abs=600)
    registry.alias(NAME, "champion", None)
    assert present(feed) is None
    assert "feedback" not in feed.problems


def test_one_of_other_features_is_left_until_it_is_trained_anew(feed: ModelFeed, registry: Registry) -> None:
    """A new feature must not raise an alarm for the weeks until analysts have seen enough of it."""
    champion(registry, "before", looping_artifact(len(NAMES), AMOUNT), definition_hash="before")
    assert present(feed) is None
    assert "feedback" not in feed.problems


@pytest.mark.parametrize(
    ("artifact", "why"),
    [
        (looping_artifact(len(NAMES), AMOUNT, always=50_000), "ms for one row"),
        (looping_artifact(len(NAMES), AMOUNT, probability=float("nan")), "no number"),
    ],
    ids=["slow", "NaN"],
)
def test_an_unfit_one_is_refused_as_an_unfit_batch_model_is(
    feed: ModelFeed, registry: Registry, artifact: bytes, why: str
) -> None:
    champion(registry, "good", looping_artifact(len(NAMES), AMOUNT))
    assert present(feed) == "good"
    champion(registry, "unfit", artifact)
    assert present(feed) == "good"
    assert why in feed.problems["feedback"]
    assert np.isfinite(feed.current.feedback_at_s)
