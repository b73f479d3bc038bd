"""What keeps the learner from learning the wrong thing: it stops itself, and goes back to what was good.

All that it does follows from the decisions and labels in their order, and from what people did: never from the clock,
and never from another model.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from models.contract import Vector
from models.online import OnlineLearner
from models.snapshot import OnlineSnapshot, OnlineWeights
from training.learner_bounds import GuardBounds
from training.learner_kept import Kept, Part, Snapshot
from training.learner_report import Freeze, TwinReport, Why
from training.null_guard import NullGuard, NullState
from training.paired_losses import Pair, PairedLosses

Learned = Literal["learned", "frozen", "broken"]


class GuardState(msgspec.Struct, kw_only=True):
    """The small part of what is stored, written with every transaction.

    `line` counts how often the weights went back: their base version bears it, so that no version names two weights.
    """

    frozen: list[Freeze] = []
    line: int = 0
    with_twin: int = 0
    nulls: NullState = msgspec.field(default_factory=NullState)


class LearnerGuard:
    """Stands between the learner and its model: decisions go to the scaler and labels to the weights through here.

    - **Nulls** (`NullGuard`): a spike freezes; the scaler goes back to what it was before the spike's blocks. It thaws
      by itself when the spike is over.
    - **Twin**: a copy of the weights that does not learn. Both are asked about the vector of each label before it is
      learned. A learner that is surely worse goes back to the twin and freezes; else the twin is made anew in time.
    - **Drift**: its own loss rises (`PairedLosses.risen`). Its own and not the ensemble's, since that one changes with
      every promotion, and is watched by `headrace drift`.

    While it is frozen, whatever the reason, neither scaler nor weights move. Labels that come meanwhile are measured by
    the learner as always, but not learned, not later either: by the time of a thaw their place in the order of labels
    has passed, and after a spike nobody wants what those days taught. A label whose vector was scored within a spike is
    not learned whenever it comes: nulls would count as usual values. Drift, twin and a person's freeze end when a
    person thaws; pairs and twin then begin anew, and where a spike lasts, what is null by then counts as usual.
    """

    def __init__(self, kept: Kept, model: OnlineLearner, base_version: str, bounds: GuardBounds, is_new: bool) -> None:
        """`is_new`: the model has just begun, so nothing that is stored is about it, but a person's freeze."""
        self._kept = kept
        self._bounds = bounds
        self._base_version = base_version
        self.model = model
        state = stored_state(kept)
        if is_new:
            state = GuardState(frozen=[freeze for freeze in state.frozen if freeze.why == "person"])
        self._frozen = {freeze.why: freeze for freeze in state.frozen}
        self._line = state.line
        names = model.to_weights().feature_names
        self._nulls = NullGuard(names, bounds, state.nulls)
        self._losses = PairedLosses.of([] if is_new else kept.pairs(), state.with_twin, bounds)
        self._new_pairs: list[Pair] = []
        self._are_cleared = is_new
        self._twin = OnlineSnapshot(self._part("twin", is_new))
        self._block, self._before = self._part("block", is_new), self._part("block before", is_new)
        self._changed: dict[Part, OnlineWeights] = {}
        if is_new or kept.part("state") is None:
            self._changed = {"twin": self._twin.weights, "block": self._block, "block before": self._before}
        self._new_snapshots: list[tuple[Snapshot, OnlineWeights]] = []

    @property
    def frozen(self) -> list[Freeze]:
        """Why it stands still, the oldest reason first; nothing: it learns."""
        return sorted(self._frozen.values(), key=lambda freeze: freeze.at_us)

    def see(self, at_us: int, vector: Vector) -> None:
        """One decision, by event time, before the label that passes it."""
        if not self._frozen:
            self.model.observe(vector)
        turn = self._nulls.see(at_us, vector)
        if turn == "began":
            # Of both blocks nobody knows how much was broken.
            self.model.take_scaler(self._before)
            self._go_back(self.model.to_weights())
            self._freeze("null spike", self._nulls.says, at_us)
        elif turn == "ended":
            self._frozen.pop("null spike", None)
            self._remember_block(self.model.to_weights(), twice=True)
        elif turn == "block" and not self._frozen:
            self._remember_block(self.model.to_weights())

    def learn(self, event_time_us: int, vector: Vector, is_fraud: bool, at_us: int) -> Learned:
        """One label of a vector that was scored at `event_time_us`, with the label's own time."""
        if self._frozen:
            return "frozen"
        if self._nulls.is_broken(event_time_us):
            return "broken"
        twin = self._twin.score_one(vector)
        pair = Pair(is_fraud, self.model.learn_one(vector, is_fraud), twin)
        self._losses.add(pair)
        self._new_pairs.append(pair)
        learned = self.model.learned
        if learned % self._bounds.look_every == 0:
            self._look(at_us)
        if learned % self._bounds.snapshot_labels == 0 and not self._frozen:
            self._new_snapshots.append((self._snapshot(at_us), self.model.to_weights()))
        return "learned"

    def save(self) -> None:
        """Store what changed, within the store's transaction."""
        kept, bounds = self._kept, self._bounds
        if self._are_cleared:
            kept.clear_pairs()
        if self._new_pairs:
            kept.add_pairs(self._new_pairs, bounds.window)
        for snapshot, weights in self._new_snapshots:
            kept.add_snapshot(snapshot, weights, bounds.snapshots)
        for part, weights in self._changed.items():
            kept.save_part(part, weights.to_json())
        kept.save_part("state", msgspec.json.encode(self._state()))
        self._new_pairs, self._new_snapshots, self._changed, self._are_cleared = [], [], {}, False

    def twin(self) -> TwinReport | None:
        """Learner against twin; None before the first label of this twin."""
        found = self._losses.comparison()
        if found is None:
            return None
        return TwinReport(self._twin.version, found.labels, found.frauds, found.live, found.twin)

    # What people do

    def freeze(self, says: str, by: str, at_us: int) -> None:
        """A person's: until a person thaws."""
        self._freeze("person", says, at_us, by)

    def thaw(self) -> None:
        """Learn again from here, whatever the reasons were. Where a spike lasts, what is null now is usual."""
        self._frozen.clear()
        if self._nulls.lasts:
            self._nulls.accept()
        self._begin_pairs()

    def restore(self, weights: OnlineWeights) -> None:
        """Go on from these weights, under a version of their own; a freeze stays."""
        self._go_back(weights)
        self._begin_pairs()

    def _look(self, at_us: int) -> None:
        bounds = self._bounds
        found = self._losses.comparison()
        worse = self._losses.worse_than_twin(found) if self._twin.ready else ""
        risen = self._losses.risen()
        if worse:
            self._go_back(self._twin.weights)
            self._freeze("twin", worse, at_us)
        if risen:
            self._freeze("drift", risen, at_us)
        if worse or risen:
            return
        enough = found is not None and found.labels >= bounds.twin_labels and found.frauds >= bounds.least_frauds
        if enough or self._losses.with_twin >= bounds.window:
            self._make_twin()

    def _freeze(self, why: Why, says: str, at_us: int, by: str = "") -> None:
        self._frozen[why] = Freeze(why, says, at_us, by)

    def _go_back(self, weights: OnlineWeights) -> None:
        """To the weights of before, under a base version that nothing has borne."""
        self._line += 1
        weights = msgspec.structs.replace(weights, base_version=line_version(self._base_version, self._line))
        self.model = OnlineLearner.from_weights(weights)
        self._remember_block(weights, twice=True)

    def _begin_pairs(self) -> None:
        self._losses.clear()
        self._new_pairs, self._are_cleared = [], True
        self._make_twin()
        self._remember_block(self.model.to_weights(), twice=True)

    def _make_twin(self) -> None:
        self._twin = OnlineSnapshot(self.model.to_weights())
        self._changed["twin"] = self._twin.weights
        self._losses.with_twin = 0

    def _remember_block(self, weights: OnlineWeights, twice: bool = False) -> None:
        self._before = weights if twice else self._block
        self._block = weights
        self._changed |= {"block": self._block, "block before": self._before}

    def _snapshot(self, at_us: int) -> Snapshot:
        return Snapshot(
            version=self.model.version,
            learned=self.model.learned,
            at_us=at_us,
            definition_hash=self._twin.weights.definition_hash,
            quality=self._losses.quality(),
        )

    def _state(self) -> GuardState:
        return GuardState(
            frozen=self.frozen, line=self._line, with_twin=self._losses.with_twin, nulls=self._nulls.stored()
        )

    def _part(self, name: Part, is_new: bool) -> OnlineWeights:
        stored = None if is_new else self._kept.part(name)
        return self.model.to_weights() if stored is None else OnlineWeights.from_json(stored)


def line_version(base_version: str, line: int) -> str:
    """The base version of weights that went back so often.

    >>> line_version("1", 0), line_version("1", 2)
    ('1', '1r2')
    """
    return f"{base_version}r{line}" if line else base_version


def base_of(version: str, line: int) -> str:
    """The base version with which weights began that went back so often.

    >>> base_of("1r2", 2)
    '1'
    """
    return version.removesuffix(f"r{line}") if line else version


def stored_state(kept: Kept) -> GuardState:
    """What the guard last stored, or the state of one that has stored nothing."""
    stored = kept.part("state")
    return GuardState() if stored is None else msgspec.json.decode(stored, type=GuardState)
