"""What people do to the learner: freeze it, thaw it, go back to a snapshot. Safe while it runs, and written down.

Each act is one transaction over the learner's file that moves its revision on: a learner that was about to write
notices (`StateMoved`), reads the file again and goes on from there; one that idles looks before it polls.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from models.online import OnlineLearner
from models.snapshot import InvalidWeights, OnlineWeights
from stream.records import micros
from training.learner_bounds import GuardBounds
from training.learner_guard import LearnerGuard, base_of, stored_state
from training.learner_kept import Act
from training.learner_report import Freeze
from training.learner_store import LearnerStore


class NothingLearned(LookupError):
    """The file has no weights yet. A retry helps once the learner has run."""


class SnapshotNotFound(LookupError):
    """No such snapshot is kept, or it cannot be used. A retry cannot help."""


class ActRefused(ValueError):
    """The learner is not in a state for this. A retry cannot help."""


def freeze(store: LearnerStore, by: str, why: str, at: datetime) -> str:
    """Let it stand still until somebody thaws it; gives the version that stays."""
    return _act(store, Act(at=at, act="freeze", by=by, why=why), lambda guard: guard.freeze(why, by, micros(at)))


def thaw(store: LearnerStore, by: str, why: str, at: datetime) -> list[Freeze]:
    """Let it learn again; gives what held it. Raises `ActRefused` if nothing does."""
    held: list[Freeze] = []

    def change(guard: LearnerGuard) -> None:
        held.extend(guard.frozen)
        if not held:
            raise ActRefused("the learner is not frozen: there is nothing to thaw")
        guard.thaw()

    _act(store, Act(at=at, act="thaw", by=by, why=why), change)
    return held


def restore(store: LearnerStore, version: str, by: str, why: str, at: datetime) -> str:
    """Go back to a snapshot's weights; gives their new version. A freeze stays. Raises `SnapshotNotFound`."""

    def change(guard: LearnerGuard) -> None:
        guard.restore(_snapshot(store, version, guard.model.to_weights()))

    return _act(store, Act(at=at, act="restore", by=by, why=why, version=version), change)


def _snapshot(store: LearnerStore, version: str, present: OnlineWeights) -> OnlineWeights:
    weights = store.kept.snapshot(version)
    if weights is None:
        kept = ", ".join(one.version for one in store.kept.snapshots()) or "none"
        raise SnapshotNotFound(f"no snapshot {version!r} is kept; there are: {kept}")
    for field in ("name", "definition_hash", "feature_names", "settings"):
        if getattr(weights, field) != getattr(present, field):
            raise SnapshotNotFound(
                f"snapshot {version!r} has another {field} than the learner's weights; take a later one"
            )
    return weights


def _act(store: LearnerStore, act: Act, change: Callable[[LearnerGuard], None]) -> str:
    with store.transaction():
        revision, stored, counters = store.state()
        if stored is None or counters is None:
            raise NothingLearned("the learner's file has no weights yet; run 'headrace learn' first")
        try:
            weights = OnlineWeights.from_json(stored)
        except InvalidWeights as error:
            raise NothingLearned(f"{error}; the learner begins anew when it starts") from None
        base_version = base_of(weights.base_version, stored_state(store.kept).line)
        model = OnlineLearner.from_weights(weights)
        guard = LearnerGuard(store.kept, model, base_version, GuardBounds(), is_new=False)
        change(guard)
        # 1. What is changed.  2. Who did it.  3. The revision: one transaction, so none is without the others.
        guard.save()
        store.kept.add_act(act)
        store.save_state(revision, guard.model.to_weights().to_json(), counters)
    return guard.model.version
