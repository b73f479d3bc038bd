from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from models.online import OnlineLearner
from models.snapshot import OnlineSettings, OnlineWeights
from stream.records import Decision, Label
from training.intake import Intake
from training.learner import DelayedLearner
from training.learner_report import Bounds, Counters
from training.learner_store import LearnerStore, StateMoved
from training.metrics import DAY_US

NAMES = ("amount", "count")
Make = Callable[..., Decision]
Verdicts = Callable[..., Label]


def fresh(definition_hash: str = "h") -> OnlineLearner:
    return OnlineLearner(NAMES, definition_hash=definition_hash, settings=OnlineSettings(min_labels=1, warm_up=1))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LearnerStore]:
    with closing(LearnerStore(tmp_path / "learner.sqlite")) as opened:
        yield opened


@pytest.fixture
def learner(store: LearnerStore) -> DelayedLearner:
    return DelayedLearner(store, fresh())


def give(learner: DelayedLearner, *records: Decision | Label) -> Counters:
    decisions = [record for record in records if isinstance(record, Decision)]
    labels = [record for record in records if isinstance(record, Label)]
    learner.apply(Intake(decisions, labels, [], {}), "memory")
    return learner.report().counters


def by_hand(*steps: tuple[list[float], bool | None]) -> OnlineWeights:
    """The weights after observing each vector once, in turn, and learning where there is a verdict."""
    model = fresh()
    for vector, _ in steps:
        model.observe(np.array(vector))
    for vector, verdict in steps:
        if verdict is not None:
            model.learn_one(np.array(vector), verdict)
    return model.to_weights()


def test_a_label_teaches_the_vector_that_was_logged(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    give(learner, decision("a", [1.0, 2.0]), decision("b", [5.0, None]), label("b", "fraud"))
    assert learner.weights() == by_hand(([1.0, 2.0], None), ([5.0, np.nan], True))


def test_before_a_label_the_scaler_sees_what_had_happened_by_then_by_time_and_id(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("late", [9.0, 9.0], day=8), decision("z", [3.0, 1.0]), decision("b", [5.0, 2.0], day=1))
    give(learner, decision("a", [1.0, 2.0]), label("b", "fraud"))
    in_turn = (([1.0, 2.0], None), ([3.0, 1.0], None), ([5.0, 2.0], True))
    assert learner.weights() == by_hand(*in_turn)
    give(learner, label("z", "legit", hour=48))
    assert learner.weights().counts == (4, 4)


def test_a_decision_that_comes_after_a_label_of_a_later_time_is_seen_at_the_next(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a"), decision("b"), label("a", "fraud"))
    give(learner, decision("c", day=-1))
    assert learner.weights().counts == (2, 2)
    give(learner, label("b", "legit"))
    assert learner.weights().counts == (3, 3)


def test_a_label_that_teaches_nothing_moves_no_scaler(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    give(learner, decision("a"), label("a", "fraud"))
    before = learner.weights()
    give(learner, decision("b"), label("a", "fraud"), label("a", "unknown"), label("a", "fraud", hour=1))
    assert learner.weights() == before


def test_early_labels_are_settled_in_the_order_in_which_they_came(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, label("b", "fraud"), label("a", "legit"))
    give(learner, decision("a", [1.0, 2.0]), decision("b", [3.0, 5.0]))
    model = fresh()
    for vector in ([1.0, 2.0], [3.0, 5.0]):
        model.observe(np.array(vector))
    for vector, verdict in (([3.0, 5.0], True), ([1.0, 2.0], False)):
        model.learn_one(np.array(vector), verdict)
    assert learner.weights() == model.to_weights()


def test_more_unseen_decisions_than_are_read_at_once_are_all_seen(
    learner: DelayedLearner, decision: Make, label: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.learner_unseen.READ_AT_ONCE", 2)
    give(learner, *(decision(f"e{number}") for number in range(5)), label("e0", "fraud"))
    assert learner.weights().counts == (5, 5)


def test_a_file_with_weights_of_another_kind_begins_anew(
    learner: DelayedLearner, store: LearnerStore, decision: Make, label: Verdicts, caplog: pytest.LogCaptureFixture
) -> None:
    give(learner, decision("a"), label("a", "fraud"))
    store.save_state(1, b'{"name": "online", "means": [0.0]}', b"{}")
    assert DelayedLearner(store, fresh()).weights() == fresh().to_weights()
    assert "begins anew" in caplog.text


def test_a_decision_without_a_label_waits(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    assert give(learner, decision("a"), decision("b"), label("b", "legit")).waiting == 1


def test_metrics_are_of_the_logged_scores(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    give(learner, decision("a", score=0.9), decision("b", score=0.1), label("a", "legit"), label("b", "fraud"))
    metrics = learner.report().metrics
    assert metrics["ensemble"].auc == 0.0
    assert metrics["batch"].labelled == 2


def test_a_label_before_its_decision_waits_for_it(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    assert give(learner, label("a", "fraud")).early == 1
    counters = give(learner, decision("a", [3.0, 4.0]))
    assert (counters.early, counters.learned, counters.waiting) == (0, 1, 0)
    assert learner.weights() == by_hand(([3.0, 4.0], True))


def test_a_repeated_decision_and_a_repeated_label_change_nothing(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a"), label("a", "fraud"))
    before = learner.weights()
    assert give(learner, decision("a"), label("a", "fraud")).duplicate == 2
    assert learner.weights() == before


def test_a_reversal_corrects_the_metrics_and_is_learned_once(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a", score=0.9), decision("b", score=0.1), label("a", "fraud"), label("b", "legit"))
    assert learner.report().metrics["ensemble"].auc == 1.0
    give(learner, label("b", "fraud", hour=1), label("a", "legit", hour=1))
    give(learner, label("a", "legit", hour=1))
    report = learner.report()
    assert report.metrics["ensemble"].auc == 0.0
    assert (report.counters.learned, report.counters.reversed, report.counters.duplicate) == (4, 2, 1)


def test_the_first_verdict_again_after_a_reversal_is_a_repeat(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a"), label("a", "fraud"), label("a", "legit", hour=1))
    before = learner.weights()
    assert give(learner, label("a", "fraud")).duplicate == 1
    assert learner.weights() == before


def test_the_same_verdict_from_another_source_is_not_learned_twice(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    counters = give(learner, decision("a"), label("a", "fraud"), label("a", "fraud", hour=1, source="bank"))
    assert (counters.learned, counters.confirmed) == (1, 1)


def test_an_older_verdict_that_comes_late_does_not_reverse(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    counters = give(learner, decision("a"), label("a", "fraud", hour=2), label("a", "legit", hour=1))
    assert (counters.learned, counters.reversed, counters.outdated) == (1, 0, 1)


def test_unknown_is_counted_and_the_decision_goes_on_waiting(
    learner: DelayedLearner, decision: Make, label: Verdicts
) -> None:
    counters = give(learner, decision("a"), label("a", "unknown"))
    assert (counters.unknown, counters.learned, counters.waiting) == (1, 0, 1)
    assert learner.report().metrics == {}


@pytest.mark.parametrize("other", [{"definition_hash": "old"}, {"vector": (1.0, 2.0, 3.0)}])
def test_a_vector_of_another_definition_is_measured_but_not_learned(
    learner: DelayedLearner, decision: Make, label: Verdicts, other: dict[str, object]
) -> None:
    counters = give(learner, decision("a", **other), label("a", "fraud"))
    assert (counters.skipped_definition, counters.learned) == (1, 0)
    assert learner.weights() == fresh().to_weights()
    assert learner.report().metrics["ensemble"].labelled == 1


def test_decisions_of_another_use_case_are_passed_over(learner: DelayedLearner, decision: Make) -> None:
    assert give(learner, decision("a", use_case="iot")).waiting == 0


def test_a_restart_goes_on_with_the_same_weights_and_metrics(
    learner: DelayedLearner, store: LearnerStore, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a", score=0.9), decision("b"), decision("c"), label("a", "fraud"), label("b", "legit"))
    again = DelayedLearner(store, fresh())
    assert again.weights() == learner.weights()
    assert again.report() == learner.report()
    assert give(again, label("c", "fraud")).learned == 3


def test_another_definition_begins_a_new_model(
    learner: DelayedLearner, store: LearnerStore, decision: Make, label: Verdicts
) -> None:
    give(learner, decision("a"), label("a", "fraud"))
    assert DelayedLearner(store, fresh("new")).weights() == fresh("new").to_weights()


def test_a_decision_older_than_the_bound_is_let_go(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    give(learner, decision("a", day=0))
    counters = give(learner, decision("b", day=91), label("a", "fraud"))
    assert (counters.expired, counters.waiting, counters.learned) == (0, 1, 1)
    assert give(learner, label("a", "legit", hour=1)).early == 1


def test_more_decisions_than_the_bound_push_out_the_first(store: LearnerStore, decision: Make, label: Verdicts) -> None:
    learner = DelayedLearner(store, fresh(), bounds=Bounds(decisions=2))
    counters = give(learner, decision("a"), decision("b"), decision("c"))
    assert (counters.waiting, counters.expired) == (2, 1)
    assert give(learner, label("a", "fraud"), label("c", "fraud")).learned == 1


def test_more_early_labels_than_the_bound_push_out_the_first(
    store: LearnerStore, decision: Make, label: Verdicts
) -> None:
    learner = DelayedLearner(store, fresh(), bounds=Bounds(early=1))
    give(learner, label("a", "fraud"), label("b", "fraud"))
    counters = give(learner, decision("a"), decision("b"))
    assert (counters.learned, counters.waiting, counters.expired) == (1, 1, 1)


def test_metrics_cover_the_latest_labels_before_and_after_a_restart(
    store: LearnerStore, decision: Make, label: Verdicts
) -> None:
    learner = DelayedLearner(store, fresh(), bounds=Bounds(labelled=2))
    for name, verdict in (("a", "legit"), ("b", "legit"), ("c", "fraud")):
        give(learner, decision(name), label(name, verdict))
    assert learner.report().metrics["ensemble"].labelled == 2
    assert learner.report().fraud_rate == 0.5
    assert DelayedLearner(store, fresh(), bounds=Bounds(labelled=2)).report() == learner.report()


def test_a_failure_on_the_way_leaves_memory_and_file_as_they_were(
    learner: DelayedLearner, store: LearnerStore, decision: Make, label: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(learner, decision("a"))
    before = learner.weights(), learner.report()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(store, "save_state", _disk_full)
        give(learner, decision("b", [9.0, 9.0]), label("a", "fraud"))
    assert (learner.weights(), learner.report()) == before
    assert give(learner, decision("b", [9.0, 9.0]), label("a", "fraud")).learned == 1


def _disk_full(*_: object) -> None:
    raise OSError("disk full")


def test_a_second_learner_on_one_file_is_noticed_and_nothing_is_learned_twice(
    learner: DelayedLearner, store: LearnerStore, decision: Make, label: Verdicts
) -> None:
    other = DelayedLearner(store, fresh())
    give(learner, decision("a"), label("a", "fraud"))
    with pytest.raises(StateMoved, match="is another learner running"):
        give(other, decision("b"))
    assert give(other, decision("a"), label("a", "fraud")).learned == 1


def test_it_is_ready_once_it_has_learned_both(learner: DelayedLearner, decision: Make, label: Verdicts) -> None:
    give(learner, decision("a"), decision("b"), label("a", "fraud"))
    assert not learner.report().ready
    give(learner, label("b", "legit"))
    assert learner.report().ready


def test_the_default_age_is_ninety_days() -> None:
    assert Bounds().max_age_us == 90 * DAY_US
