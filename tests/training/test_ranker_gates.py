"""A ranker is promoted for a better order of slates that it never saw, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from models.cross_features import CROSS_FEATURES
from models.manifest import Manifest
from models.onnx import OnnxModel
from training.batch import Trained
from training.gates import Verdict, failed
from training.ranker_fit import BLEND, fit_ranker
from training.ranker_gates import RankerContest, gain_over, judge_ranker
from training.slate_rows import SlateRows

T0 = datetime(2026, 1, 31, tzinfo=UTC)
GOOD = CROSS_FEATURES.index("cross_likeness_last")
PLACES = 8


def shown(slates: int, first: int) -> SlateRows:
    """Slates of which the right order is by `GOOD`, from a second on; what the blend says is noise."""
    rng = np.random.default_rng(first)
    X = np.full((slates * PLACES, len(CROSS_FEATURES)), np.nan)
    X[:, [GOOD, CROSS_FEATURES.index(BLEND)]] = rng.normal(size=(len(X), 2))
    y = (rng.random(len(X)) < 1.0 / (1.0 + np.exp(2.0 - 1.5 * X[:, GOOD]))).astype(np.int8)
    slate = first + np.repeat(np.arange(slates), PLACES)
    place = np.tile(np.arange(1, PLACES + 1), slates)
    return SlateRows(X, y, slate, place, np.ones(len(X)), slate * 1_000_000, CROSS_FEATURES, "h")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return fit_ranker(shown(800, 0), created_at=T0, eta=0.0, changes={"max_iter": 15})


@pytest.fixture(scope="module")
def later() -> SlateRows:
    return shown(400, 1000)


def model(trained: Trained, **changes: object) -> OnnxModel:
    return OnnxModel(trained.onnx_bytes, msgspec.structs.replace(trained.manifest, version="v1", **changes))


def said(verdicts: list[Verdict]) -> dict[str, bool | None]:
    return {verdict.gate: verdict.passed for verdict in verdicts}


def test_a_ranker_that_orders_better_than_the_blend_passes_all(trained: Trained, later: SlateRows) -> None:
    verdicts = judge_ranker(RankerContest(model(trained), None, "h", later, eta=0.0))
    assert not failed(verdicts)
    assert list(said(verdicts)) == ["definition", "parity", "latency", "window", "answers", "better"]
    assert "than that of the blend" in verdicts[-1].says


def test_an_equal_ranker_is_not_promoted(trained: Trained, later: SlateRows) -> None:
    verdicts = judge_ranker(RankerContest(model(trained), model(trained), "h", later, eta=0.0))
    assert [one.gate for one in failed(verdicts)] == ["better"]
    assert "by 0 (0 to 0)" in verdicts[-1].says


def test_a_champion_of_another_definition_ranks_nobody(trained: Trained, later: SlateRows) -> None:
    other = model(trained, definition_hash="older")
    assert not failed(judge_ranker(RankerContest(model(trained), other, "h", later, eta=0.0)))


def test_a_ranker_of_another_definition_is_refused_at_once(trained: Trained, later: SlateRows) -> None:
    verdicts = judge_ranker(RankerContest(model(trained, definition_hash="older"), None, "h", later))
    assert said(verdicts) == {"definition": False}
    assert "train it again" in verdicts[0].says


def test_slates_that_it_learned_from_do_not_judge_it(trained: Trained) -> None:
    verdicts = judge_ranker(RankerContest(model(trained), None, "h", shown(800, 0)))
    assert [one.gate for one in failed(verdicts)] == ["window"]
    assert "0 slates with an action" in verdicts[-1].says


def test_an_unmeasured_difference_is_no_parity(trained: Trained, later: SlateRows) -> None:
    verdicts = judge_ranker(RankerContest(model(trained, max_onnx_difference=None), None, "h", later))
    assert said(verdicts)["parity"] is False


def test_a_worse_order_gains_less_than_nothing(later: SlateRows) -> None:
    gained = gain_over(later, -later.X[:, GOOD], later.X[:, GOOD], eta=0.0)
    assert gained.high < 0.0


def test_a_manifest_of_a_ranker_reads_back(trained: Trained) -> None:
    assert Manifest.from_json(trained.manifest.to_json()) == trained.manifest
