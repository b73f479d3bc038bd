"""A model that gets slow costs a few answers a part of their time, and none its deadline."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from models import watch as watching
from models.onnx import OnnxModel
from models.watch import LOOK_EVERY_S, OVERRUNS_LIMIT, PARK_AFTER_S, ModelOverran, Watch, WatchedModel
from tests.manifests import made_up
from tests.models.slow_model import looping_artifact

MANIFEST = made_up("fraud", ("rounds", "other"), reference={})
LIMIT_MS = 20.0
PATIENT_MS = 60_000.0
MANY = 50_000_000  # minutes of rounds


@pytest.fixture(scope="module")
def onnx_model() -> OnnxModel:
    return OnnxModel(looping_artifact(2, 0), MANIFEST)


@pytest.fixture
def model(onnx_model: OnnxModel) -> WatchedModel:
    return WatchedModel(onnx_model, LIMIT_MS)


def row(rounds: int) -> NDArray[np.float64]:
    return np.array([float(rounds), 0.0])


def overrun(model: WatchedModel) -> None:
    """A row that is ended: otherwise it would be answered, minutes later."""
    with pytest.raises(ModelOverran):
        model.score_one(row(MANY))


def quick(model: WatchedModel) -> float:
    """What it says of a quick row, which a busy machine may hold up for longer than the limit."""
    with patience(model):
        return model.score_one(row(0))


@contextmanager
def patience(model: WatchedModel) -> Iterator[None]:
    limit_s, model.limit_s = model.limit_s, PATIENT_MS / 1000
    try:
        yield
    finally:
        model.limit_s = limit_s


def test_a_row_that_takes_too_long_is_ended_and_the_next_is_answered(model: WatchedModel) -> None:
    assert quick(model) == pytest.approx(0.25)
    overrun(model)
    assert quick(model) == pytest.approx(0.25)
    with pytest.raises(ModelOverran):
        model.score_many(np.stack([row(MANY), row(0)]))
    with patience(model):
        assert model.score_many(np.stack([row(0), row(1)])).tolist() == pytest.approx([0.25, 0.25])


def test_a_model_that_is_always_slow_is_left_out_and_tried_again(
    model: WatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 600.0)
    for _ in range(OVERRUNS_LIMIT):
        overrun(model)
    calls = model.calls
    with pytest.raises(ModelOverran, match="left out"):
        model.score_one(row(0))
    assert model.calls == calls  # it was not asked
    retried_after(model)
    overrun(model)
    with pytest.raises(ModelOverran, match="left out"):
        model.score_one(row(0))
    retried_after(model)
    assert quick(model) == pytest.approx(0.25)
    assert quick(model) == pytest.approx(0.25)


def retried_after(model: WatchedModel) -> None:
    """Let the time be over for which it is left out."""
    now_s = time.perf_counter()
    assert now_s < model.left_out_until_s <= now_s + 600.0
    model.left_out_until_s = now_s


def test_one_slow_row_among_quick_ones_leaves_nothing_out(model: WatchedModel) -> None:
    for _ in range(2 * OVERRUNS_LIMIT):
        overrun(model)
        assert quick(model) == pytest.approx(0.25)


def test_an_end_that_comes_too_late_harms_no_other_row(model: WatchedModel) -> None:
    model.abort()  # nothing runs: the next row meets it
    assert quick(model) == pytest.approx(0.25)
    model.abort()
    with patience(model):
        assert model.score_many(np.stack([row(0)])).tolist() == pytest.approx([0.25])


def test_the_watch_sleeps_while_nobody_asks_and_wakes_in_time(model: WatchedModel) -> None:
    watch = watching.watch()
    until_s = time.monotonic() + 60 * PARK_AFTER_S
    while not watch.is_parked:
        assert time.monotonic() < until_s
        time.sleep(LOOK_EVERY_S)
    overrun(model)


def test_old_models_are_let_go(onnx_model: OnnxModel) -> None:
    watch = Watch()
    for _ in range(10):
        watch.add(WatchedModel(onnx_model, LIMIT_MS))
    assert len(watch._models) <= 2


def test_the_watch_costs_a_row_little(onnx_model: OnnxModel) -> None:
    """Against the same model unwatched, row by row in turn; the ratio of the medians, the best of five tries."""
    model, x = WatchedModel(onnx_model, PATIENT_MS), row(0)

    def took_s(one: WatchedModel | OnnxModel) -> float:
        started_s = time.perf_counter()
        one.score_one(x)
        return time.perf_counter() - started_s

    def ratio() -> float:
        times = [(took_s(model), took_s(onnx_model)) for _ in range(500)]
        return statistics.median(one for one, _ in times) / statistics.median(other for _, other in times)

    assert min(ratio() for _ in range(5)) < 1.35
