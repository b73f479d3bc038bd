"""A learner that is killed while it freezes, thaws, makes a twin or takes a snapshot; and people's acts meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest

from models.online import OnlineLearner
from models.snapshot import OnlineSettings
from stream.records import Decision, Label
from tests.training.conftest import START
from tests.training.test_learner_determinism import PLACES, TIGHT, outcome
from tests.training.test_learner_guard import usual, without
from training import learner_acts
from training.learner import DelayedLearner
from training.learner_kept import Kept
from training.learner_loop import TOPICS, catch_up, learn_once
from training.learner_store import LearnerStore, StateMoved

Make = Callable[..., Decision]
AT = datetime(2026, 2, 1, tzinfo=UTC)
GUARDS = msgspec.structs.replace(TIGHT, block=5, calm_blocks=2, twin_ratio=1e9, twin_labels=10)


def open_learner(path: Path) -> tuple[LearnerStore, DelayedLearner]:
    store = LearnerStore(path)
    settings = OnlineSettings(warm_up=3, min_labels=1)
    return store, DelayedLearner(
        store, OnlineLearner(("amount", "count"), definition_hash="h", settings=settings), guards=GUARDS
    )


def fill(log: Any, decision: Make) -> None:
    """Two spikes, each over again, with labels twenty decisions late; some are repeated, reversed, unknown."""
    rows = [*usual(60), *without(usual(20, 1), 0), *usual(40, 2), *without(usual(15, 3), 1), *usual(60, 4)]
    for number, (vector, _) in enumerate(rows):
        log.send(decision(f"e{number}", vector, day=number / 1440))
        at = START + timedelta(minutes=number)
        if number >= 20:
            verdict: Any = "unknown" if number % 17 == 0 else "fraud" if rows[number - 20][1] else "legit"
            label = Label(event_id=f"e{number - 20}", label=verdict, labelled_at=at, source="x")
            log.send(label, *([label] if number % 5 == 0 else []))
            if number % 13 == 0:
                log.send(msgspec.structs.replace(label, label="fraud", source="y", labelled_at=at + timedelta(hours=1)))


def drain(path: Path, log: Any) -> bytes:
    """One process that works until there is nothing left; every bit of what it has then."""
    store, learner = open_learner(path)
    with closing(store):
        catch_up(learner, log, Event(), 16)
        consumer = log.consumer("learner", TOPICS)
        while any(learner.offset(log.name, part) < log.end(part) for part in PLACES):
            learn_once(learner, log, consumer, 16, 0)
        return outcome(learner, store)


def killed(work: Callable[[], object]) -> None:
    """Do it in a process of its own, which must end by SIGKILL."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def dying(original: Any, nth: int) -> Callable[..., Any]:
    """The same, and the process is killed when it has done it for the nth time."""
    calls = iter(range(1, 10_000))

    def done(*args: Any) -> Any:
        answer = original(*args)
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return done


@pytest.fixture
def clean(new_log: Callable[[], Any], decision: Make, tmp_path: Path) -> bytes:
    log = new_log()
    fill(log, decision)
    return drain(tmp_path / "clean.sqlite", log)


def test_the_log_of_these_tests_freezes_and_thaws_twice(log: Any, decision: Make, tmp_path: Path) -> None:
    fill(log, decision)
    drain(tmp_path / "learner.sqlite", log)
    store, learner = open_learner(tmp_path / "learner.sqlite")
    with closing(store):
        report = learner.report()
        assert (learner.version.split(".")[0], report.frozen) == ("1r2", [])
        assert report.counters.frozen > 10
        assert report.counters.broken > 10
        assert report.twin is not None
        assert report.twin.version.startswith("1r2.")


@pytest.mark.parametrize("step", ["save_part", "add_pairs", "add_snapshot"])
@pytest.mark.parametrize("nth", [1, 3, 7, 12])
def test_a_learner_killed_while_its_guard_is_stored_leaves_what_a_clean_pass_leaves(
    step: str, nth: int, log: Any, decision: Make, clean: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, decision)
    path = tmp_path / "learner.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(Kept, step, dying(getattr(Kept, step), nth))
        killed(lambda: drain(path, log))
    assert drain(path, log) == clean


@pytest.mark.parametrize("step", ["save_part", "add_act"])
def test_a_restore_that_is_killed_has_not_happened_and_can_be_done_again(
    step: str, log: Any, decision: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, decision)
    path = tmp_path / "learner.sqlite"
    before = drain(path, log)

    def restore() -> str:
        with closing(LearnerStore(path)) as store:
            version = store.kept.snapshots()[0].version
            return learner_acts.restore(store, version, "ana", "labels were wrong", AT)

    with monkeypatch.context() as patch:
        patch.setattr(Kept, step, dying(getattr(Kept, step), 1))
        killed(restore)
    store, learner = open_learner(path)
    with closing(store):
        assert outcome(learner, store) == before
        assert list(store.kept.acts()) == []
        version = restore()
        assert learner.look_again()
        assert learner.version == version
        assert [act.act for act in store.kept.acts()] == ["restore"]


def test_a_person_s_act_while_the_learner_runs_is_noticed_and_nothing_is_learned_twice(
    log: Any, decision: Make, tmp_path: Path
) -> None:
    path = tmp_path / "learner.sqlite"
    for number, (vector, is_fraud) in enumerate(usual(120)):
        made = decision(f"e{number}", vector, day=number / 1440)
        verdict: Any = "fraud" if is_fraud else "legit"
        log.send(made, Label(event_id=f"e{number}", label=verdict, labelled_at=made.event_timestamp, source="x"))
    store, learner = open_learner(path)
    with closing(store), closing(LearnerStore(path)) as other:
        consumer = log.consumer("learner", TOPICS)
        learn_once(learner, log, consumer, 64, 0)
        learner_acts.freeze(other, "ana", "a wrong feed", AT)
        with pytest.raises(StateMoved):
            while True:
                learn_once(learner, log, consumer, 64, 0)
        assert [(one.why, one.by, one.says) for one in learner.report().frozen] == [("person", "ana", "a wrong feed")]
        learned = learner.report().counters.learned
        assert 0 < learned < 120
    drain(path, log)
    store, learner = open_learner(path)
    with closing(store):
        assert learner.report().counters.learned == learned
        version = learner.version
        held = learner_acts.thaw(store, "ben", "the feed is right again", AT)
        assert [one.why for one in held] == ["person"]
        assert learner.look_again()
        assert not learner.look_again()
        assert (learner.report().frozen, learner.version) == ([], version)
        assert [(one.act, one.by) for one in store.kept.acts()] == [("freeze", "ana"), ("thaw", "ben")]
        with pytest.raises(learner_acts.ActRefused, match="nothing to thaw"):
            learner_acts.thaw(store, "ben", "once more", AT)


def test_acts_cannot_be_changed_or_removed(log: Any, decision: Make, tmp_path: Path) -> None:
    path = tmp_path / "learner.sqlite"
    fill(log, decision)
    drain(path, log)
    with closing(LearnerStore(path)) as store:
        learner_acts.freeze(store, "ana", "why", AT)
        for change in ("DELETE FROM acts", "UPDATE acts SET content = ''"):
            with pytest.raises(Exception, match="only ever appended"):
                store._db.execute(change)


def test_restored_weights_are_those_of_then_under_a_version_that_nothing_had(
    log: Any, decision: Make, tmp_path: Path
) -> None:
    path = tmp_path / "learner.sqlite"
    fill(log, decision)
    drain(path, log)
    store, learner = open_learner(path)
    with closing(store):
        first = store.kept.snapshots()[0].version
        kept = store.kept.snapshot(first)
        assert kept is not None
        assert learner_acts.restore(store, first, "ana", "why", AT) == f"1r3.{kept.learned_fraud + kept.learned_legit}"
        assert learner.look_again()
        assert msgspec.structs.replace(learner.weights(), base_version=kept.base_version) == kept
        with pytest.raises(learner_acts.SnapshotNotFound, match=f"no snapshot '9.9' is kept; there are: {first}"):
            learner_acts.restore(store, "9.9", "ana", "why", AT)


def test_a_file_without_weights_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with closing(LearnerStore(tmp_path / "learner.sqlite")) as store:
        with pytest.raises(learner_acts.NothingLearned, match="run 'headrace learn' first"):
            learner_acts.freeze(store, "ana", "why", AT)
        assert list(store.kept.acts()) == []
