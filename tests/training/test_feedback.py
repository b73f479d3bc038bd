from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.onnx import OnnxModel
from tests.training.verdicts import FRAUD_RATE, MADE_AT, NAMES, NEW, OLD, payments, population, seen
from training.batch import NotEnoughToLearn, Trained
from training.feedback import FEEDBACK_FAMILIES, train_feedback
from training.frame import TrainingFrame
from training.metrics import auc


def trained(verdicts: TrainingFrame | None = None, **options: object) -> Trained:
    return train_feedback(
        seen() if verdicts is None else verdicts,
        population(),
        created_at=MADE_AT,
        name="fraud-feedback",
        **options,  # type: ignore[arg-type]
    )


@cache
def usual(family: str = "small_boosted_trees") -> Trained:
    """The model of the world as it is."""
    return trained(family=family)


def model(one: Trained) -> OnnxModel:
    return OnnxModel(one.onnx_bytes, one.manifest)


def rises_with(sign: int, one: OnnxModel) -> float:
    """The AUC between payments with a sign and the same without it."""
    X = payments(600, seed=9)
    y = (np.arange(600) % 2).astype(np.int8)
    X[y == 1, sign] += 3.0
    found = auc(y, one.score_many(X))
    assert found is not None
    return found


@pytest.mark.parametrize("family", list(FEEDBACK_FAMILIES))
def test_a_pattern_that_only_recent_verdicts_show_is_learned_beside_the_old_one(family: str) -> None:
    without = train_feedback(
        population(seed=5), population(), created_at=MADE_AT, name="fraud-feedback", family=family, background=0
    )
    assert rises_with(NEW, model(without)) < 0.65
    one = model(usual(family))
    assert rises_with(NEW, one) > 0.9
    assert rises_with(OLD, one) > 0.6


@pytest.mark.parametrize("family", list(FEEDBACK_FAMILIES))
def test_its_scores_are_true_of_all_traffic_though_half_of_the_verdicts_are_fraud(family: str) -> None:
    one = usual(family)
    later = population(seed=77)
    assert seen().y.mean() == 0.5
    assert model(one).score_many(later.X).mean() == pytest.approx(float(later.y.mean()), rel=0.35)
    assert one.manifest.metrics["mean_score"] == pytest.approx(one.manifest.metrics["fraud_rate"], rel=0.02)


def test_what_is_measured_is_what_later_rows_show_and_not_what_was_learned_by_heart() -> None:
    """Every row of the population was fitted, and each is judged by a model that has not seen its card."""
    one = trained(background=3_000)
    later = population(seed=77)
    found = auc(later.y, model(one).score_many(later.X))
    assert one.manifest.metrics["auc"] == pytest.approx(found, abs=0.05)


def test_the_manifest_says_whence_it_comes() -> None:
    manifest = usual().manifest
    verdicts = seen()
    assert (manifest.name, manifest.feature_names, manifest.definition_hash) == ("fraud-feedback", NAMES, "h")
    assert manifest.created_at == MADE_AT
    assert (manifest.parameters["verdicts"], manifest.parameters["background"]) == (len(verdicts.y), 3_000)
    assert manifest.metrics["measured_rows"] == len(population().y)
    assert manifest.max_onnx_difference is not None
    assert manifest.max_onnx_difference <= 1e-5
    assert manifest.profile is not None
    assert manifest.profile.fraud_rate == pytest.approx(FRAUD_RATE, rel=0.3)
    assert list(manifest.profile.scores) == ["feedback"]


def test_the_same_rows_give_the_same_model() -> None:
    assert trained().onnx_bytes == usual().onnx_bytes


def test_a_feature_that_nobody_sent_does_not_stop_the_others() -> None:
    verdicts, every = seen(), population()
    blank = {"X": np.column_stack([verdicts.X[:, :-1], np.full(len(verdicts.y), np.nan)])}
    empty = np.column_stack([every.X[:, :-1], np.full(len(every.y), np.nan)])
    one = train_feedback(
        TrainingFrame(blank["X"], verdicts.y, verdicts.event_time_us, verdicts.card, NAMES, "h"),
        TrainingFrame(empty, every.y, every.event_time_us, every.card, NAMES, "h"),
        created_at=MADE_AT,
        name="fraud-feedback",
    )
    assert rises_with(NEW, model(one)) > 0.9


def few(rows: TrainingFrame, frauds: int) -> TrainingFrame:
    kept = (rows.y == 0) | (np.cumsum(rows.y) <= frauds)
    return rows.where(kept)


@pytest.mark.parametrize(
    ("verdicts", "every", "missing"),
    [
        (few(seen(), 19), population(), "of 219 verdicts 19 are fraud, and 20 are needed"),
        (seen(), few(population(), 3), "the mature population has 3 frauds"),
        (seen(), population().where(population().y == 1), "the mature population has"),
    ],
)
def test_too_few_say_what_is_missing(verdicts: TrainingFrame, every: TrainingFrame, missing: str) -> None:
    with pytest.raises(NotEnoughToLearn, match=missing):
        train_feedback(verdicts, every, created_at=MADE_AT, name="fraud-feedback")


def test_analysts_who_see_nothing_but_fraud_can_teach() -> None:
    verdicts = seen()
    assert rises_with(NEW, model(trained(verdicts.where(verdicts.y == 1)))) > 0.9


def test_rows_of_two_definitions_are_refused() -> None:
    verdicts = seen()
    other = TrainingFrame(verdicts.X, verdicts.y, verdicts.event_time_us, verdicts.card, NAMES, "other")
    with pytest.raises(ValueError, match="definition other"):
        trained(other)
