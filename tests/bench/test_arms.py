from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.arm_members import batch_scores, known_frame, online_beginning, some
from bench.arms import ARMS, Arm, Said, run_arm
from bench.late_rows import LateRows
from models.ensemble import FEEDBACK, FRAUD_WEIGHTS
from models.online import OnlineLearner
from models.onnx import OnnxModel
from models.snapshot import OnlineSettings
from stream.records import Decision, Label, Transaction, Verdict, from_micros
from tests.bench.late_worlds import DELAY_DAYS, FIRST_US, late_rows, turned_from
from training.frame import TrainingFrame
from training.intake import Intake
from training.learner import DelayedLearner
from training.learner_store import LearnerStore
from training.metrics import DAY_US, auc
from training.prequential import ONLINE

SETTINGS = OnlineSettings(learning_rate=0.1, min_labels=5, warm_up=5)
BEGINS, DAYS = 24, 42
Scores = NDArray[np.float64]
Feedback = Callable[[TrainingFrame, TrainingFrame, int], OnnxModel | None]


def same_side(days: int) -> NDArray[np.bool_]:
    return np.ones(days, dtype=np.bool_)


def scored(rows: LateRows, arm: Arm, feedback: Feedback | None = None) -> Said:
    """With a batch member that knows nothing, so that all that is said comes from the others."""
    beginning = online_beginning(rows, SETTINGS) if arm.online else None
    n_judged = rows.judged.stop - rows.judged.start
    return run_arm(rows, arm, np.full(n_judged, 0.5), FRAUD_WEIGHTS, beginning, feedback)


def mean_daily_auc(rows: LateRows, score: Scores) -> float:
    judged = rows.judged
    day = rows.frame.event_time_us[judged] // DAY_US
    y = rows.frame.y[judged]
    found = [auc(y[day == today], score[day == today]) for today in np.unique(day)]
    return float(np.mean([one for one in found if one is not None]))


def before(rows: LateRows, days: float) -> NDArray[np.bool_]:
    """Which judged rows are before a moment, in days after the first day of all."""
    times: NDArray[np.int64] = rows.frame.event_time_us[rows.judged]
    return np.asarray(times < FIRST_US + days * DAY_US)


@pytest.fixture(scope="module")
def steady() -> LateRows:
    return late_rows(same_side(DAYS), BEGINS)


@pytest.mark.parametrize("cards_a_day", [0, 10])
def test_a_coin_that_is_tossed_each_day_and_told_a_week_later_is_never_guessed(cards_a_day: int) -> None:
    coin = np.random.default_rng(3).random(40) < 0.5
    late = late_rows(coin, 15, cards_a_day=cards_a_day, a_day=120)
    told_at_once = late_rows(coin, 15, cards_a_day=cards_a_day, a_day=120, delay_days=0)
    arm = Arm(online=True)
    assert 0.3 < mean_daily_auc(late, scored(late, arm).score) < 0.6
    assert mean_daily_auc(told_at_once, scored(told_at_once, arm).score) > 0.75  # so cheating would show


def test_online_scores_know_a_label_from_its_moment_on_and_not_before(steady: LateRows) -> None:
    unseen = late_rows(same_side(DAYS), BEGINS, cards_a_day=0)
    day = BEGINS - 3
    turned = turned_from(unseen, day)
    was, is_now = (scored(one, Arm(online=True)).members[ONLINE] for one in (unseen, turned))
    untold = before(unseen, day + DELAY_DAYS)
    assert untold.sum() > 100
    np.testing.assert_array_equal(was[untold], is_now[untold])
    assert np.all(was[~untold] != is_now[~untold])


def test_a_verdict_is_known_at_noon_of_the_next_day_and_not_before(steady: LateRows) -> None:
    day = BEGINS + 4
    turned = turned_from(steady, day)
    was, is_now = (scored(one, Arm(online=True)).members[ONLINE] for one in (steady, turned))
    untold = before(steady, day + 1.5)
    np.testing.assert_array_equal(was[untold], is_now[untold])
    assert np.all(was[~untold] != is_now[~untold])


def test_feedback_learns_only_from_verdicts_and_labels_that_are_known(steady: LateRows) -> None:
    asked: list[tuple[int, TrainingFrame, TrainingFrame]] = []

    def train(verdicts: TrainingFrame, population: TrainingFrame, now_us: int) -> OnnxModel | None:
        asked.append((now_us, verdicts, population))
        return None

    scored(steady, Arm(feedback=True), train)
    assert len(asked) >= 4
    for now_us, verdicts, population in asked:
        noon_after_us = verdicts.event_time_us // DAY_US * DAY_US + DAY_US * 3 // 2
        assert noon_after_us.max() <= now_us
        assert (population.event_time_us + DELAY_DAYS * DAY_US).max() <= now_us
    assert max(len(verdicts.y) for _, verdicts, _ in asked) > 100


def test_the_feedback_member_speaks_once_it_was_trained_and_is_turned_by_its_verdicts() -> None:
    day = BEGINS + 4
    rows = late_rows(same_side(BEGINS + 8), BEGINS, cards_a_day=20)
    was, is_now = (scored(one, Arm(feedback=True)).members[FEEDBACK] for one in (rows, turned_from(rows, day)))
    assert np.isnan(was[before(rows, BEGINS + 3)]).all()
    assert not np.isnan(was[~before(rows, BEGINS + 3)]).any()
    untold = before(rows, BEGINS + 6)  # trained on days 3 and 6: the verdicts of day 4 come at noon of day 5
    np.testing.assert_array_equal(was[untold], is_now[untold])
    assert np.any(was[~untold] != is_now[~untold])


def test_a_batch_model_that_is_trained_each_week_knows_what_is_known_then(steady: LateRows) -> None:
    fit = partial(batch_scores, family="logistic_regression")
    day = BEGINS - 3
    turned = turned_from(steady, day)
    np.testing.assert_array_equal(fit(steady, weekly=False), fit(turned, weekly=False))
    was, is_now = fit(steady, weekly=True), fit(turned, weekly=True)
    untold = before(steady, BEGINS + 7)
    np.testing.assert_array_equal(was[untold], is_now[untold])
    assert np.any(was[~untold] != is_now[~untold])
    np.testing.assert_array_equal(fit(steady, weekly=False)[untold], was[untold])


def test_what_is_known_leaves_young_events_out_whole(steady: LateRows) -> None:
    now_us = steady.begins_us
    frame = known_frame(steady, now_us, 5)
    assert now_us - 12 * DAY_US <= frame.event_time_us.min() <= frame.event_time_us.max() < now_us - 7 * DAY_US


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_scores_the_same_rows(arm: Arm, steady: LateRows) -> None:
    said = scored(steady, arm, lambda verdicts, population, now_us: None)
    assert said.score.shape == (steady.judged.stop - steady.judged.start,)
    assert not np.isnan(said.score).any()
    assert np.isnan(said.members[ONLINE]).all() != arm.online


def test_analysts_look_at_the_cards_that_their_own_arm_scored_highest() -> None:
    rows = late_rows(same_side(DAYS), BEGINS, cards_a_day=1)
    judged = rows.judged
    looked_at: list[str] = []

    def train(verdicts: TrainingFrame, population: TrainingFrame, now_us: int) -> OnnxModel | None:
        looked_at.extend(verdicts.card.tolist())
        return None

    of_c7 = (rows.frame.card[judged] == "c7").astype(np.float64)
    run_arm(rows, Arm(feedback=True), of_c7, FRAUD_WEIGHTS, None, train)
    present = {int(day) for day in rows.frame.event_time_us[judged][of_c7 > 0] // DAY_US}
    assert len(present) > 10
    assert looked_at.count("c7") > 0.5 * len(looked_at)


def test_the_online_member_learns_as_the_learner_of_the_service_does() -> None:
    rows = late_rows(np.random.default_rng(1).random(20) < 0.7, 18)
    frame, end = rows.frame, rows.judged.start
    beginning = OnlineLearner(frame.feature_names, definition_hash="h", settings=SETTINGS)
    last_us = int(frame.event_time_us[end - 1])
    told = [row for row in range(end) if rows.known_us[row] <= last_us]
    labels = [_label(rows, row) for row in sorted(told, key=lambda row: rows.known_us[row])]
    with closing(LearnerStore(":memory:")) as store:
        learner = DelayedLearner(store, beginning)
        learner.apply(Intake([_decision(rows, row) for row in range(end)], labels, [], {}), "memory")
        theirs = learner.weights()
    ours = online_beginning(rows, SETTINGS)
    assert ours.learned.sum() == len(told) > 300
    assert ours.weights.coefficients == theirs.coefficients
    assert ours.weights.intercept == theirs.intercept
    assert (ours.weights.learned_fraud, ours.weights.learned_legit) == (theirs.learned_fraud, theirs.learned_legit)


def test_a_label_that_only_confirms_a_verdict_is_not_learned_again(steady: LateRows) -> None:
    everything = late_rows(same_side(DAYS), BEGINS, cards_a_day=1_000)
    beginning = online_beginning(everything, SETTINGS)
    assert beginning.weights.learned_fraud + beginning.weights.learned_legit == beginning.learned.sum()
    told_late = scored(late_rows(same_side(DAYS), BEGINS, cards_a_day=0), Arm(online=True)).members[ONLINE]
    told_soon = scored(everything, Arm(online=True)).members[ONLINE]
    assert np.any(told_late != told_soon)


def _decision(rows: LateRows, row: int) -> Decision:
    record: Transaction = rows.records[row]
    return Decision(
        event_id=record.event_id,
        event_timestamp=record.event_timestamp,
        scored_at=record.event_timestamp,
        use_case="fraud",
        outcome="approve",
        score=0.5,
        scores={},
        vector=rows.frame.X[row].tolist(),
        definition_hash="h",
        policy_version="1",
        record=record,
    )


def _label(rows: LateRows, row: int) -> Label:
    verdict: Verdict = "fraud" if rows.frame.y[row] else "legit"
    known_at = from_micros(int(rows.known_us[row]))
    return Label(event_id=rows.records[row].event_id, label=verdict, labelled_at=known_at, source="feed")


def test_some_rows_keep_their_events() -> None:
    rows = late_rows(same_side(DAYS), BEGINS)
    places = np.array([5, 3])
    found = some(replace(rows.frame, records=rows.records), places, FIRST_US)
    assert found.records is not None
    assert [one.event_id for one in found.records] == [one.event_id for one in rows.records[places]]
    assert np.array_equal(found.X, rows.frame.X[places], equal_nan=True)
    assert found.label_cutoff_us == FIRST_US
