"""A model that gets slow costs a few answers a part of their time, and none its deadline."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from models import watch as watching
from models.manifest import Manifest
from models.onnx import OnnxModel
from models.watch import LOOK_EVERY_S, OVERRUNS_LIMIT, PARK_AFTER_S, ModelOverran, Watch, WatchedModel
from tests.models.slow_model import looping_artifact

T0 = datetime(2026, 1, 31, tzinfo=UTC)
MANIFEST = Manifest(
    name="fraud",
    version="v1",
    created_at=T0,
    feature_names=("rounds", "other"),
    definition_hash="x",
    window_start=T0,
    window_end=T0,
    label_cutoff=T0,
    reference={},
)
LIMIT_MS = 20.0
MANY = 2_000_000  # seconds of rounds


@pytest.fixture(scope="module")
def onnx_model() -> OnnxModel:
    return OnnxModel(looping_artifact(2, 0), MANIFEST)


@pytest.fixture
def model(onnx_model: OnnxModel) -> WatchedModel:
    return WatchedModel(onnx_model, LIMIT_MS)


def row(rounds: int) -> NDArray[np.float64]:
    return np.array([float(rounds), 0.0])


def overrun(model: WatchedModel) -> float:
    started_s = time.perf_counter()
    with pytest.raises(ModelOverran):
        model.score_one(row(MANY))
    return time.perf_counter() - started_s


def test_a_row_that_takes_too_long_is_ended_and_the_next_is_answered(model: WatchedModel) -> None:
    assert model.score_one(row(0)) == pytest.approx(0.25)
    assert overrun(model) < 1.0  # it would take seconds
    assert model.score_one(row(0)) == pytest.approx(0.25)
    with pytest.raises(ModelOverran):
        model.score_many(np.stack([row(MANY), row(0)]))
    assert model.score_many(np.stack([row(0), row(1)])).tolist() == pytest.approx([0.25, 0.25])


def test_a_model_that_is_always_slow_is_left_out_and_tried_again(
    model: WatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.5)
    for _ in range(OVERRUNS_LIMIT):
        overrun(model)
    calls = model.calls
    with pytest.raises(ModelOverran, match="left out"):
        model.score_one(row(0))
    assert model.calls == calls  # it was not asked
    time.sleep(0.6)
    overrun(model)
    with pytest.raises(ModelOverran, match="left out"):
        model.score_one(row(0))
    time.sleep(0.6)
    assert model.score_one(row(0)) == pytest.approx(0.25)
    assert model.score_one(row(0)) == pytest.approx(0.25)


def test_one_slow_row_among_quick_ones_leaves_nothing_out(model: WatchedModel) -> None:
    for _ in range(2 * OVERRUNS_LIMIT):
        overrun(model)
        assert model.score_one(row(0)) == pytest.approx(0.25)


def test_an_end_that_comes_too_late_harms_no_other_row(model: WatchedModel) -> None:
    model.abort()  # nothing runs: the next row meets it
    assert model.score_one(row(0)) == pytest.approx(0.25)
    model.abort()
    assert model.score_many(np.stack([row(0)])).tolist() == pytest.approx([0.25])


def test_the_watch_sleeps_while_nobody_asks_and_wakes_in_time(model: WatchedModel) -> None:
    watch = watching.watch()
    until_s = time.monotonic() + 20 * PARK_AFTER_S
    while not watch.is_parked:
        assert time.monotonic() < until_s
        time.sleep(LOOK_EVERY_S)
    assert overrun(model) < 1.0


def test_old_models_are_let_go(onnx_model: OnnxModel) -> None:
    watch = Watch()
    for _ in range(10):
        watch.add(WatchedModel(onnx_model, LIMIT_MS))
    assert len(watch._models) <= 2


def test_the_watch_costs_a_row_little(model: WatchedModel, onnx_model: OnnxModel) -> None:
    """Against the same model unwatched; medians, the best of five tries."""
    x = row(0)

    def median_s(one: WatchedModel | OnnxModel) -> float:
        times = []
        for _ in range(1000):
            started_s = time.perf_counter()
            one.score_one(x)
            times.append(time.perf_counter() - started_s)
        return statistics.median(times)

    assert min(median_s(model) - median_s(onnx_model) for _ in range(5)) < 10e-6
