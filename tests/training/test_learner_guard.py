"""The learner stops itself where it should, goes back to what was good, and begins again when it may."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.online import OnlineLearner
from models.snapshot import OnlineSettings
from stream.records import Decision, Label, from_micros
from tests.training.conftest import START
from training import learner_acts
from training.intake import Intake
from training.learner import DelayedLearner
from training.learner_bounds import GuardBounds
from training.learner_report import LearnerReport
from training.learner_store import LearnerStore
from training.null_guard import NullGuard

NAMES = ("amount", "count")
SMALL = GuardBounds(
    block=20,
    least_blocks=3,
    calm_blocks=2,
    window=400,
    look_every=20,
    least_labels=40,
    least_frauds=5,
    twin_labels=100,
    snapshot_labels=50,
    snapshots=3,
)
Make = Callable[..., Decision]
Row = tuple[list[float | None], bool]


def begin(store: LearnerStore, guards: GuardBounds = SMALL, definition_hash: str = "h") -> DelayedLearner:
    settings = OnlineSettings(min_labels=1, warm_up=10)
    return DelayedLearner(
        store, OnlineLearner(NAMES, definition_hash=definition_hash, settings=settings), guards=guards
    )


@pytest.fixture
def store() -> Iterator[LearnerStore]:
    with closing(LearnerStore(":memory:")) as opened:
        yield opened


class Stream:
    """Decisions a minute apart, each labelled `delay` decisions later."""

    def __init__(self, learner: DelayedLearner, decision: Make, delay: int = 0) -> None:
        self.learner = learner
        self._decision = decision
        self._delay = delay
        self._sent: list[tuple[str, bool]] = []

    def give(self, rows: Sequence[Row]) -> LearnerReport:
        decisions, labels = [], []
        for vector, is_fraud in rows:
            number = len(self._sent)
            decisions.append(self._decision(f"e{number}", vector, day=number / 1440))
            self._sent.append((f"e{number}", is_fraud))
            if number >= self._delay:
                event_id, verdict = self._sent[number - self._delay]
                at = START + timedelta(minutes=number)
                known = Label(event_id=event_id, label="fraud" if verdict else "legit", labelled_at=at, source="x")
                labels.append(known)
        self.learner.apply(Intake(decisions, labels, [], {}), "memory")
        return self.learner.report()


def usual(count: int, seed: int = 0, fraud_rate: float = 0.1) -> list[Row]:
    """Frauds have large amounts."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(count):
        is_fraud = bool(rng.random() < fraud_rate)
        amount, count_ = rng.normal(3.0 if is_fraud else 0.0), rng.normal()
        rows.append(([float(amount), float(count_)], is_fraud))
    return rows


def without(rows: Sequence[Row], feature: int) -> list[Row]:
    return [([None if n == feature else value for n, value in enumerate(vector)], verdict) for vector, verdict in rows]


def whys(learner: DelayedLearner) -> list[str]:
    return [freeze.why for freeze in learner.report().frozen]


def test_a_spike_of_nulls_freezes_names_the_feature_and_leaves_the_scaler_as_it_was_before(
    store: LearnerStore, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(begin(store), decision)
    stream.give(usual(100))
    before = stream.learner.weights()
    with caplog.at_level(logging.WARNING):
        report = stream.give(without(usual(60, seed=1), 1))
    assert [(one.why, one.says) for one in report.frozen] == [("null spike", "count null in 100%, usually 0%")]
    assert from_micros(report.frozen[0].at_us) == START + timedelta(minutes=119)
    # Of the block before the spike's own nobody knows; nothing of 80 to 160 is in the scaler, of no feature.
    assert stream.learner.weights().counts == (80, 80)
    assert before.counts == (100, 100)
    assert caplog.text.count("stands still (null spike)") == 1
    assert report.counters.frozen == 41
    assert report.metrics["ensemble"].labelled == 160


def test_a_spike_ends_by_itself_and_neither_its_labels_nor_its_vectors_are_learned_later(
    store: LearnerStore, decision: Make
) -> None:
    stream = Stream(begin(store), decision, delay=90)
    stream.give(usual(100))
    stream.give(without(usual(60, seed=1), 0))
    assert whys(stream.learner) == ["null spike"]
    stream.give(usual(20, seed=2))
    assert whys(stream.learner) == ["null spike"], "one good block is not enough"
    stream.give(usual(20, seed=3))
    assert whys(stream.learner) == []
    report = stream.give(usual(100, seed=4))
    # It stood still from 119 to 199. After that came the labels of 109 on; up to 159, vectors were of the spike.
    assert (report.counters.frozen, report.counters.broken) == (80, 51)
    assert report.counters.learned == 300 - 90 - 80 - 51
    assert stream.learner.weights().counts == (80 + 100, 80 + 100)


def test_nulls_that_swing_with_the_day_and_a_quiet_week_are_no_spike() -> None:
    """As on the handbook's data: 38%, and 83% from one day to the next when 70% of the events stay away."""
    rng = np.random.default_rng(5)
    guard = NullGuard(NAMES, GuardBounds())
    for block in range(300):
        share = 0.34 + 0.06 * np.sin(block / 4) + (0.42 if 200 <= block < 240 else 0.0)
        for unknown in rng.random(200) < share:
            assert guard.see(block, np.array([np.nan if unknown else 1.0, 1.0])) in (None, "block")


def test_a_field_that_was_often_null_and_is_always_null_now_is_a_spike(store: LearnerStore, decision: Make) -> None:
    rng = np.random.default_rng(5)
    stream = Stream(begin(store, GuardBounds(block=50, least_blocks=10)), decision)
    stream.give([([None if rng.random() < 0.35 else 1.0, float(rng.normal())], False) for _ in range(1000)])
    stream.give([([None, float(rng.normal())], False) for _ in range(100)])
    assert whys(stream.learner) == ["null spike"]


def test_a_loss_that_rises_freezes_and_one_that_falls_does_not(store: LearnerStore, decision: Make) -> None:
    stream = Stream(begin(store), decision)
    stream.give(usual(300))
    stream.give(usual(200, seed=1, fraud_rate=0.0))
    assert whys(stream.learner) == []
    stream.give([(vector, True) for vector, _ in usual(100, seed=2)])
    assert "drift" in whys(stream.learner)


def test_a_learner_that_is_worse_than_its_twin_goes_back_to_it_and_freezes(store: LearnerStore, decision: Make) -> None:
    stream = Stream(begin(store, msgspec.structs.replace(SMALL, loss_ratio=1e9)), decision)
    stream.give(usual(600, fraud_rate=0.3))
    good = stream.learner.weights()
    spoiled = msgspec.structs.replace(good, coefficients=tuple(-each for each in good.coefficients))
    stream.learner._guard.model = OnlineLearner.from_weights(spoiled)
    report = stream.give(usual(100, seed=2, fraud_rate=0.3))
    assert [one.why for one in report.frozen] == ["twin"]
    assert report.twin is not None
    assert report.twin.log_loss > report.twin.twin_log_loss
    back = stream.learner.weights()
    assert all(now == before for now, before in zip(back.coefficients, good.coefficients, strict=True))
    assert (back.version, back.learned_fraud + back.learned_legit) == ("1r1.600", 600)
    assert stream.give(usual(50, seed=3)).version == "1r1.600"


def test_a_learner_that_does_well_is_given_a_new_twin_again_and_again(store: LearnerStore, decision: Make) -> None:
    stream = Stream(begin(store), decision)
    versions = set()
    for seed in range(10):
        report = stream.give(usual(50, seed=seed))
        versions.add(None if report.twin is None else report.twin.version)
        assert report.frozen == []
    assert len(versions) >= 4


def test_what_a_frozen_learner_has_is_there_after_a_restart(
    store: LearnerStore, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(begin(store), decision)
    stream.give(usual(300))
    stream.give([(vector, True) for vector, _ in usual(100, seed=2)])
    caplog.clear()
    again = begin(store)
    assert again.report() == stream.learner.report()
    assert again.weights() == stream.learner.weights()
    assert caplog.text.count("stands still (drift)") == 1


def test_a_learner_that_begins_anew_keeps_a_person_s_freeze_alone_and_says_so(
    store: LearnerStore, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(begin(store), decision)
    stream.give(usual(300))
    stream.give([(vector, True) for vector, _ in usual(100, seed=2)])
    learner_acts.freeze(store, "ana", "a wrong feed", START)
    assert stream.learner.look_again()
    assert set(whys(stream.learner)) == {"drift", "person"}
    stream.learner = begin(store, definition_hash="new")
    assert [(one.why, one.by) for one in stream.learner.report().frozen] == [("person", "ana")]
    assert "begins anew, since the file's weights are of another definition_hash" in caplog.text
    assert "begins anew and stays frozen, as ana said: a wrong feed" in caplog.text
    # What it stored is its own, and after a thaw it learns.
    assert stream.give(usual(10, seed=3)).counters.learned < 400
    again = begin(store, definition_hash="new")
    assert (whys(again), again.version) == (["person"], "1.0")
    learner_acts.thaw(store, "ana", "repaired", START)
    assert again.look_again()
    assert whys(again) == []


def blocks_from(guard: NullGuard, minutes: Sequence[int], value: float = 1.0) -> list[str | None]:
    return [guard.see(minute, np.array([value, 1.0])) for minute in minutes]


def guard_of(minutes: Sequence[int]) -> NullGuard:
    guard = NullGuard(NAMES, SMALL)
    assert "began" not in blocks_from(guard, minutes)
    return guard


def test_a_straggler_that_opens_a_block_does_not_widen_the_spike() -> None:
    guard = guard_of(range(10_000, 10_100))
    assert "began" in blocks_from(guard, [3, *range(10_100, 10_119)], np.nan)
    assert "ended" in blocks_from(guard, range(10_119, 10_159))
    assert not guard.is_broken(5_000)
    assert not guard.is_broken(10_070)
    assert all(guard.is_broken(minute) for minute in range(10_080, 10_119))


def test_nor_does_one_that_opened_the_block_before() -> None:
    guard = guard_of([*range(10_000, 10_080), 3, *range(10_080, 10_099)])
    assert "began" in blocks_from(guard, range(10_099, 10_119), np.nan)
    assert "ended" in blocks_from(guard, range(10_119, 10_159))
    assert not guard.is_broken(5_000)
    assert all(guard.is_broken(minute) for minute in range(10_080, 10_119))


def test_a_time_from_the_future_does_not_hide_a_later_spike() -> None:
    guard = guard_of([*range(10_000, 10_079), 99_999, *range(10_080, 10_100)])
    assert "began" in blocks_from(guard, range(10_100, 10_120), np.nan)
    assert "ended" in blocks_from(guard, range(10_120, 10_160))
    assert all(guard.is_broken(minute) for minute in range(10_080, 10_120))
    assert not guard.is_broken(10_079)
    assert not guard.is_broken(10_121)


def test_the_latest_snapshots_are_kept_with_their_figures(store: LearnerStore, decision: Make) -> None:
    Stream(begin(store), decision).give(usual(330))
    kept = store.kept.snapshots()
    assert [one.version for one in kept] == ["1.200", "1.250", "1.300"]
    assert [one.learned for one in kept] == [200, 250, 300]
    assert from_micros(kept[-1].at_us) == START + timedelta(minutes=299)
    assert kept[-1].quality is not None
    assert kept[-1].quality.auc is not None
    assert 0.8 < kept[-1].quality.auc <= 1.0
    weights = store.kept.snapshot("1.250")
    assert weights is not None
    assert weights.version == "1.250"


def test_a_file_of_before_the_guards_is_gone_on_from(decision: Make, tmp_path: Path) -> None:
    path = tmp_path / "learner.sqlite"
    with closing(LearnerStore(path)) as store:
        stream = Stream(begin(store), decision)
        stream.give(usual(30))
        for table in ("guard", "pairs", "snapshots", "acts"):
            store._db.execute(f"DROP TABLE {table}")
    with closing(LearnerStore(path)) as store:
        before, stream.learner = stream.learner.weights(), begin(store)
        assert stream.learner.weights() == before
        assert stream.give(usual(10)).counters.learned == 40
