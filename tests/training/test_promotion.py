"""Models of a known truth go through the gates: the better one passes, the others are told why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.aliases import AliasMoved
from models.registry import Registry
from scoring.policy_file import InvalidPolicy
from stream.records import from_micros
from tests.training.contest import BOUNDS, GOOD, HALF, MANIFEST, TRUE_WEIGHTS, add, artefact, costs, frame, home_of
from training.gates import PromotionRefused
from training.policy_cost import PolicyCost
from training.promotion import Judged, judge_version, no_rows, promote


def judged(registry: Registry, version: str) -> Judged:
    return judge_version(registry, "fraud", version, frame(), costs(), BOUNDS)


def said(found: Judged) -> dict[str, bool | None]:
    return {verdict.gate: verdict.passed for verdict in found.verdicts}


def failing(found: Judged) -> set[str]:
    return {gate for gate, passed in said(found).items() if passed is False}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """`half` is champion; `good` is better, `same` is equal."""
    made = home_of(tmp_path / "models", half=HALF, good=GOOD, same=HALF)
    made.alias("fraud", "champion", "half", by="ann")
    return made


def test_a_better_model_passes_every_gate_and_the_log_keeps_what_they_said(registry: Registry) -> None:
    promote(registry, judged(registry, "good"), by="bob", why="knows merchants")
    assert registry.aliases("fraud") == {"champion": "good", "previous": "half"}
    change = next(one for one in registry.history("fraud") if one.version == "good")
    assert (change.by, change.why, change.forced) == ("bob", "knows merchants", [])
    assert change.gates["better"].startswith("passed: it saves ")
    assert len(change.gates) == 11


def test_a_worse_model_is_refused_and_hears_by_how_much(registry: Registry) -> None:
    registry.alias("fraud", "champion", "good")
    before = (registry.directory / "aliases.jsonl").read_bytes()
    found = judged(registry, "same")
    assert failing(found) >= {"better", "cost"}
    with pytest.raises(
        PromotionRefused, match=r"cost: it costs [\d.]+ per 1,000 events, the champion [\d.]+: it saves -"
    ):
        promote(registry, found, by="bob", why="")
    assert (registry.directory / "aliases.jsonl").read_bytes() == before


def test_an_equal_model_is_refused_since_it_is_not_better(registry: Registry) -> None:
    found = judged(registry, "same")
    assert failing(found) == {"better"}
    with pytest.raises(PromotionRefused, match=r"better: it saves 0 \(0 to 0\)"):
        promote(registry, found, by="bob", why="")


def test_the_first_champion_passes_the_absolute_gates_alone(tmp_path: Path) -> None:
    registry = home_of(tmp_path, good=GOOD)
    found = judged(registry, "good")
    promote(registry, found, by="ann", why="the first")
    assert registry.resolve("fraud") == "good"
    skipped = {gate for gate, passed in said(found).items() if passed is None}
    assert skipped == {"better", "cost", "card precision", "segments"}


def test_a_first_champion_that_guesses_is_refused(tmp_path: Path) -> None:
    registry = home_of(tmp_path, guess=artefact((1.0, 0.0, 0.0), -3.0))
    assert "useful" in failing(judged(registry, "guess"))


def test_probabilities_that_are_twice_too_high_are_refused(registry: Registry) -> None:
    add(registry, artefact(TRUE_WEIGHTS, -3.0), version="loud")
    assert failing(judged(registry, "loud")) == {"calibration"}


def test_a_model_of_other_features_is_refused_for_that(registry: Registry) -> None:
    add(registry, GOOD, version="other", definition_hash="g")
    found = judged(registry, "other")
    assert failing(found) == {"definition"}
    assert "made for definition g, the features that are served are h" in str(found.verdicts[0])


def test_an_unmeasured_or_large_difference_of_onnx_is_refused(registry: Registry) -> None:
    add(registry, GOOD, version="unmeasured", max_onnx_difference=None)
    add(registry, GOOD, version="far", max_onnx_difference=3e-4)
    assert failing(judged(registry, "unmeasured")) == {"parity"}
    found = judged(registry, "far")
    assert failing(found) == {"parity"}
    assert "differs from the native model by 3.0e-04, more than 1e-05" in str(found.verdicts[1])


def test_a_model_that_has_no_number_where_a_value_is_unknown_is_refused(registry: Registry) -> None:
    rows = replace(frame(), X=frame().X.copy())
    rows.X[:7, 1] = np.nan
    found = judge_version(registry, "fraud", "good", rows, costs(), BOUNDS)
    assert failing(found) == {"answers"}
    assert "no number for 7 of 4,000 rows" in str(found.verdicts[3])
    assert found.trial.note == "the champion has no number for 7 rows"


def test_nothing_counts_that_either_model_may_have_learned_from(registry: Registry) -> None:
    middle = int(np.median(frame().event_time_us))
    late = msgspec.structs.replace(MANIFEST, version="late", label_cutoff=from_micros(middle))
    registry.register(GOOD, late)
    assert judged(registry, "late").trial.rows == np.count_nonzero(frame().event_time_us > middle)
    registry.alias("fraud", "champion", "late")
    found = judged(registry, "same")
    assert found.trial.rows == np.count_nonzero(frame().event_time_us > middle)
    assert "window" in failing(found)


def test_without_rows_nothing_is_promoted(registry: Registry) -> None:
    class Three:
        names = MANIFEST.feature_names
        definition_hash = "h"

    found = judge_version(registry, "fraud", "good", no_rows(Three()), costs(), BOUNDS)  # type: ignore[arg-type]
    assert failing(found) == {"window"}
    with pytest.raises(PromotionRefused, match="give rows of later days"):
        promote(registry, found, by="ann", why="")


def test_a_champion_of_other_features_is_no_measure(registry: Registry) -> None:
    registry.alias("fraud", "champion", add(registry, GOOD, version="old", definition_hash="g"))
    found = judged(registry, "half")
    assert said(found)["better"] is None
    assert "serves nobody" in found.trial.note
    promote(registry, found, by="ann", why="")


def test_a_forced_promotion_is_in_the_log_with_what_failed(registry: Registry) -> None:
    found = judged(registry, "same")
    with pytest.raises(ValueError, match="say why"):
        promote(registry, found, by="bob", why=" ", force=True)
    promote(registry, found, by="bob", why="the other one leaks", force=True)
    change = next(one for one in registry.history("fraud") if one.version == "same")
    assert (change.by, change.why, change.forced) == ("bob", "the other one leaks", ["better"])


def test_of_two_who_judged_against_one_champion_the_second_is_told(registry: Registry) -> None:
    add(registry, GOOD, version="also")
    first, second = judged(registry, "good"), judged(registry, "also")
    promote(registry, first, by="ann", why="")
    with pytest.raises(AliasMoved, match=r"is good, moved by ann at .* and was half when also was compared"):
        promote(registry, second, by="bob", why="")
    assert registry.resolve("fraud") == "good"


def test_the_champion_itself_cannot_be_promoted(registry: Registry) -> None:
    with pytest.raises(ValueError, match="is the champion already"):
        judged(registry, "half")


def test_what_a_model_costs_is_what_the_policy_says_of_its_outcomes() -> None:
    rows = frame().where(np.arange(len(frame().y)) < 400)
    assert rows.records is not None
    records = rows.records.tolist()
    nothing = costs().of(records, np.zeros(400), rows.y)
    # What is approved costs nothing, and a fraud its amount with the fee of 15.
    expected = [record.amount + 15.0 if fraud else 0.0 for record, fraud in zip(records, rows.y, strict=True)]
    assert nothing == pytest.approx(expected)
    known = costs().of(records, rows.y.astype(float), rows.y)
    assert known.sum() < nothing.sum()


def test_a_policy_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy):
        PolicyCost(tmp_path / "none.toml", object)


def test_records_and_rows_must_match() -> None:
    with pytest.raises(ValueError, match="records of shape"):
        replace(frame(), records=np.empty(3, dtype=object))
