from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.onnx import OnnxModel
from models.registry import ModelNotFound, Registry
from models.shap import ShapModel
from scoring.api import Api
from scoring.explanation import ExactExplainer, Explanation, Unexplained
from scoring.live_models import LiveModels
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.records import Decision
from tests.scoring.conftest import MANIFEST, NAMES, PATIENT_MS, live, payment
from tests.scoring.test_api import Door


@pytest.fixture
def registry(tmp_path: Path, amount_artifact: bytes) -> Registry:
    registry = Registry(tmp_path)
    registry.register(amount_artifact, MANIFEST)
    return registry


@pytest.fixture
def explainer(registry: Registry) -> ExactExplainer:
    return ExactExplainer("fraud", FRAUD.features, registry)


@pytest.fixture
def decision(scorer: Scorer, amount_model: OnnxModel) -> Decision:
    scorer.models = live(amount_model)
    return scorer.score(payment("a/b", amount=1500.0))


def test_contributions_sum_to_the_difference_and_say_what_the_reasons_say(
    explainer: ExactExplainer, decision: Decision
) -> None:
    found = explainer.explain(decision)
    total = sum(one.contribution for one in found.contributions)
    assert total == pytest.approx(found.margin - found.base, abs=1e-6)
    assert 1 / (1 + np.exp(-found.margin)) == pytest.approx(decision.scores["batch"].score, abs=1e-5)
    first = found.contributions[0]
    assert (first.feature, first.text, first.value) == ("amount", decision.reasons[0].text, 1500.0)
    assert (first.usual, first.usual_for) == (20.0, "legit traffic")
    assert first.contribution > 0
    sizes = [abs(one.contribution) for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert {one.feature for one in found.contributions} <= set(NAMES)


def test_the_model_that_is_live_is_not_read_again(
    registry: Registry, decision: Decision, amount_artifact: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ShapModel(amount_artifact, MANIFEST)
    monkeypatch.setattr(registry, "read", lambda *_: 1 / 0)
    found = ExactExplainer("fraud", FRAUD.features, registry, lambda: LiveModels(read=read)).explain(decision)
    assert found.version == "v1"


def test_a_decision_without_the_model_is_not_explained(explainer: ExactExplainer, decision: Decision) -> None:
    changed = msgspec.structs.replace
    with pytest.raises(Unexplained, match="no batch model scored event 'a/b'"):
        explainer.explain(changed(decision, scores={}))
    with pytest.raises(Unexplained, match="definition of-old"):
        explainer.explain(changed(decision, definition_hash="of-old"))
    gone = {"batch": msgspec.structs.replace(decision.scores["batch"], version="v9")}
    with pytest.raises(ModelNotFound, match="'v9'"):
        explainer.explain(changed(decision, scores=gone))


def test_the_route_answers_whatever_the_id_and_says_why_it_cannot(
    explainer: ExactExplainer, decision: Decision, scorer: Scorer
) -> None:
    door = Door(Api(scorer, 60_000, PATIENT_MS, explainer))
    status, _, answer = door.send("GET", "/explanations/a/b")
    assert status == 200
    assert msgspec.convert(answer, Explanation) == explainer.explain(decision)
    assert door.send("GET", "/explanations/nobody")[::2][0] == 404
    scorer.models = live()
    scorer.score(payment("unscored"))
    status, _, answer = door.send("GET", "/explanations/unscored")
    assert (status, answer["error"]) == (404, "not explainable")
    closed = Door(Api(scorer, 60_000, PATIENT_MS))
    assert closed.send("GET", "/explanations/a/b")[2]["error"] == "no explanations"
