"""The table "When things go wrong" of docs/operations.md: models that are missing, corrupt, no number, or slow."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from models.onnx import OnnxModel
from models.registry import Registry
from models.watch import OVERRUNS_LIMIT, RETRY_S, WatchedModel
from scoring.deciding import PRIOR_SCORE
from scoring.live_models import ModelFeed
from scoring.scorer import Scorer
from stream.records import encode
from tests.models.slow_model import looping_artifact
from tests.scoring.conftest import AMOUNT, MANIFEST, NAMES, PATIENT_MS, live, payment

SLOW = 20_000_000  # half a minute of rounds
SHORT_MS = 50.0
WIDTH = len(NAMES)


def champion(registry: Registry, version: str, artifact: bytes) -> Path:
    """Register it and make it the champion; where its file is."""
    manifest = msgspec.structs.replace(MANIFEST, version=version)
    registry.alias("fraud", "champion", registry.register(artifact, manifest))
    (file,) = registry.path("fraud", version).glob("*.onnx")
    return file


def good(registry: Registry) -> None:
    champion(registry, "good", looping_artifact(WIDTH, AMOUNT))


def version_of(feed: ModelFeed) -> str | None:
    feed.refresh()
    return None if feed.current.batch is None else feed.current.batch.version


def test_without_any_model_the_base_rate_answers_until_one_comes(
    feed: ModelFeed, registry: Registry, scorer: Scorer
) -> None:
    scorer.models = lambda: feed.current
    assert version_of(feed) is None
    without = scorer.score(payment("e1"))
    assert (without.score, without.degraded) == (PRIOR_SCORE, ["batch model", "models"])
    good(registry)
    assert version_of(feed) == "good"
    assert scorer.score(payment("e2")).degraded == []


@pytest.mark.parametrize(
    ("artifact", "why"),
    [
        (looping_artifact(WIDTH, AMOUNT, always=50_000), "ms for one row"),
        (looping_artifact(WIDTH, AMOUNT, probability=float("nan")), "no number"),
    ],
    ids=["slow", "NaN"],
)
def test_an_unfit_champion_is_refused_and_the_one_before_stays(
    feed: ModelFeed, registry: Registry, scorer: Scorer, artifact: bytes, why: str
) -> None:
    good(registry)
    assert version_of(feed) == "good"
    champion(registry, "unfit", artifact)
    assert version_of(feed) == "good"
    assert why in feed.problems["batch"]
    assert version_of(feed) == "good"
    scorer.models = lambda: feed.current
    assert scorer.score(payment("e1")).degraded == []
    registry.alias("fraud", "champion", "good")
    assert version_of(feed) == "good"
    assert "batch" not in feed.problems


@pytest.mark.parametrize("damage", ["cut", "rubbish", "gone"])
def test_a_corrupt_file_is_refused_and_the_one_before_stays(feed: ModelFeed, registry: Registry, damage: str) -> None:
    good(registry)
    assert version_of(feed) == "good"
    file = champion(registry, "corrupt", looping_artifact(WIDTH, AMOUNT, probability=0.5))
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else bytes(reversed(whole)))
    assert version_of(feed) == "good"
    assert "batch" in feed.problems
    file.write_bytes(whole)
    assert version_of(feed) == "corrupt"  # as soon as it can be read


def test_a_model_that_gets_slow_is_left_out_in_time_and_costs_few_answers_anything(
    scorer: Scorer, registry: Registry
) -> None:
    """Its file takes half a minute for one row of such amounts."""
    content = looping_artifact(WIDTH, AMOUNT)
    model = WatchedModel(OnnxModel(content, MANIFEST), PATIENT_MS)
    scorer.models = live(model)
    assert scorer.score(payment("quick")).degraded == []
    model.limit_s = SHORT_MS / 1000
    times, calls, began_s = [], model.calls, time.monotonic()
    for number in range(OVERRUNS_LIMIT + 20):
        started_s = time.perf_counter()
        decision = scorer.score(payment(f"e{number}", amount=float(SLOW)))
        times.append(time.perf_counter() - started_s)
        assert decision.degraded == ["batch model", "models"]
        assert b"NaN" not in encode(decision)
    assert min(times[:OVERRUNS_LIMIT]) > SHORT_MS / 1000
    # The others were not asked to wait for it, but for one row now and then.
    assert model.calls - calls <= OVERRUNS_LIMIT + (time.monotonic() - began_s) / RETRY_S
