"""Who is answered by a canary, and that one decision is of one model."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.aliases import SHARES
from models.onnx import OnnxModel
from models.registry import Registry
from models.watch import WatchedModel
from scoring.canary_split import PLACES, entity_hash, is_in, place_of
from scoring.explanation import ExactExplainer
from scoring.live_models import LiveModels, ModelFeed
from scoring.readings import versions_of
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.records import Decision
from tests.models.slow_model import looping_artifact
from tests.scoring.conftest import AMOUNT, MANIFEST, NAMES, PATIENT_MS, Says, payment

CARDS = [f"card-{number}" for number in range(20_000)]
OTHER_PROCESS = (
    "import sys; from scoring.canary_split import place_of; print(*(place_of('fraud', c) for c in sys.argv[1:]))"
)


def chosen(share: int, name: str = "fraud") -> set[str]:
    return {card for card in CARDS if is_in(place_of(name, card), share)}


def test_a_share_is_that_share_of_the_entities() -> None:
    for share in SHARES:
        expected = len(CARDS) * share / 100
        assert len(chosen(share)) == pytest.approx(expected, abs=4 * (expected * (1 - share / 100)) ** 0.5), share
    assert (chosen(0), chosen(100)) == (set(), set(CARDS))


def test_a_larger_share_keeps_who_was_in_a_smaller_one() -> None:
    few, some, many = (chosen(share) for share in SHARES)
    assert few < some < many
    assert many != chosen(25, "another"), "the model's name is in the hash"


def test_another_process_chooses_the_same() -> None:
    cards = CARDS[:200]
    found = subprocess.run([sys.executable, "-c", OTHER_PROCESS, *cards], capture_output=True, text=True, check=True)
    assert [int(place) for place in found.stdout.split()] == [place_of("fraud", card) for card in cards]
    assert all(0 <= entity_hash("fraud", card) < 2**63 for card in cards)
    assert max(place_of("fraud", card) for card in CARDS) < PLACES


@pytest.fixture
def registry(tmp_path: Path, amount_artifact: bytes) -> Registry:
    registry = Registry(tmp_path)
    for version in ("a", "b"):
        registry.register(amount_artifact, msgspec.structs.replace(MANIFEST, version=version))
    registry.alias("fraud", "champion", "a")
    return registry


@pytest.fixture
def feed(redis_db: str, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelFeed]:
    # What is slow is known when it is taken; later nothing that holds up a row ends it.
    monkeypatch.setattr("scoring.member_feed.WatchedModel", lambda model, limit_ms: WatchedModel(model, PATIENT_MS))
    made = ModelFeed("fraud", FRAUD.features.definition_hash, registry, redis_db, 50.0)
    yield made
    made.stop()


def version_for(feed: ModelFeed, card: str) -> str:
    batch = feed.current.for_entity("fraud", card).batch
    assert batch is not None
    return batch.version


def test_the_canary_answers_its_share_and_the_champion_the_rest(feed: ModelFeed, registry: Registry) -> None:
    registry.alias("fraud", "canary", "b", share=25)
    feed.refresh()
    assert feed.problems.keys() <= {"online"}
    ours = chosen(25)
    assert all(version_for(feed, card) == ("b" if card in ours else "a") for card in CARDS[:500])
    canary = feed.current.canary
    assert canary is not None
    assert canary.read is not None
    assert canary.read.manifest.version == "b", "reasons are the canary's own"
    assert versions_of(feed.current) == {("batch", "a"), ("batch", "b")}
    registry.alias("fraud", "canary", None)
    feed.refresh()
    assert feed.current.canary is None


@pytest.mark.parametrize("fault", ["definition", "no number", "slow", "corrupt"])
def test_while_a_canary_is_unfit_the_champion_answers_for_all(
    feed: ModelFeed, registry: Registry, amount_artifact: bytes, fault: str
) -> None:
    width = len(NAMES)
    broken = {
        "definition": amount_artifact,
        "no number": looping_artifact(width, AMOUNT, probability=float("nan")),
        "slow": looping_artifact(width, AMOUNT, always=150_000),
        "corrupt": amount_artifact,
    }[fault]
    definition = "other" if fault == "definition" else FRAUD.features.definition_hash
    manifest = msgspec.structs.replace(MANIFEST, version="bad", definition_hash=definition)
    registry.alias("fraud", "canary", registry.register(broken, manifest), share=25)
    if fault == "corrupt":
        (registry.path("fraud", "bad") / "model.onnx").write_bytes(b"no model")
    feed.refresh()
    assert "the champion answers for all" in feed.problems["canary"]
    assert {version_for(feed, card) for card in CARDS[:200]} == {"a"}
    registry.alias("fraud", "canary", "b", share=5)
    feed.refresh()
    assert "canary" not in feed.problems
    assert {version_for(feed, card) for card in CARDS[:500]} == {"a", "b"}


@pytest.mark.parametrize("place", ["models.onnx.OnnxModel.score_one", "models.shap.ShapModel.__init__"])
def test_a_canary_that_makes_a_library_raise_anything_leaves_the_feed_alive(
    feed: ModelFeed, registry: Registry, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    feed.refresh()
    registry.alias("fraud", "canary", "b", share=25)

    def odd(*_: object) -> None:
        raise KeyError("nodes_values")

    with monkeypatch.context() as patched:
        patched.setattr(place, odd)
        feed.refresh()
    if "score_one" in place:
        assert "nodes_values" in feed.problems["canary"]
        assert {version_for(feed, card) for card in CARDS[:200]} == {"a"}
    else:
        canary = feed.current.canary
        assert canary is not None
        assert canary.batch is not None
        assert (canary.batch.version, canary.read) == ("b", None), "its reasons are found the slow way"
    feed.refresh()
    assert feed.current.read is not None
    assert feed.current.read.manifest.version == "a"


def test_a_share_that_is_no_step_is_refused_with_those_that_are(registry: Registry) -> None:
    with pytest.raises(ValueError, match="has the share 10%; allowed are 1, 5, 25"):
        registry.alias("fraud", "canary", "b", share=10)
    with pytest.raises(ValueError, match="allowed are 0"):
        registry.alias("fraud", "challenger", "b", share=5)


def test_no_decision_mixes_models_while_they_are_swapped(scorer: Scorer, amount_artifact: bytes) -> None:
    """Two models that never say the same, swapped between threads as fast as it goes."""
    found = {
        version: OnnxModel(amount_artifact, msgspec.structs.replace(MANIFEST, version=version))
        for version in ("a", "b")
    }
    low, high = Says(0.75, version="low"), Says(0.95, version="high")
    one = LiveModels(batch=low, canary=LiveModels(batch=high), canary_share=25)  # type: ignore[arg-type]
    two = LiveModels(batch=high, canary=LiveModels(batch=low), canary_share=5)  # type: ignore[arg-type]
    plain = LiveModels(batch=low)  # type: ignore[arg-type]
    current = [one]
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for models in (two, plain, one):
                current[0] = models

    scorer.models = lambda: current[0]
    swapping = threading.Thread(target=swap)
    swapping.start()
    asked: list[str] = []
    explain = scorer._explainer.explain

    def noted(model: Says, *rest: object) -> object:
        asked.append(model.version)
        return explain(found["a"], *rest)  # type: ignore[arg-type]

    scorer._explainer.explain = noted  # type: ignore[assignment,method-assign]
    seen = set()
    try:
        for number in range(200):
            before = len(asked)
            decision = scorer.score(payment(f"e{number}", card_id=CARDS[number], amount=900.0), 60_000)
            batch = decision.scores["batch"]
            assert batch.score == {"low": 0.75, "high": 0.95}[batch.version]
            assert asked[before:] == [batch.version], "the reasons are of the model whose score it is"
            seen.add((batch.version, is_in(place_of("fraud", CARDS[number]), 25)))
    finally:
        stop.set()
        swapping.join()
    assert {version for version, _ in seen} == {"low", "high"}


def test_a_decision_of_the_canary_is_explained_by_the_canary(
    feed: ModelFeed, registry: Registry, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.alias("fraud", "canary", "b", share=25)
    feed.refresh()
    scorer.models = lambda: feed.current
    card = sorted(chosen(25))[0]
    decision: Decision = scorer.score(payment("e", card_id=card, amount=1500.0), 60_000)
    assert decision.scores["batch"].version == "b"
    explainer = ExactExplainer("fraud", FRAUD.features, registry, lambda: feed.current)
    monkeypatch.setattr(registry, "read", lambda *_: pytest.fail("it is read already"))
    found = explainer.explain(decision)
    assert (found.version, found.score) == ("b", decision.scores["batch"].score)


def test_without_a_canary_nothing_is_hashed(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoring.live_models.place_of", lambda *_: pytest.fail("it was asked"))
    assert scorer.score(payment("e")).scores["batch"].score == 0.001
    assert np.isfinite(scorer.score(payment("f")).score)
