"""Simulated worlds with a model of each, and its profile: months of ordinary life, cheap enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from features.fraud import FRAUD
from features.history import History
from models.profile import Profile
from stream.played import Played
from stream.records import micros
from stream.simulator import Simulator
from training.batch import profile_of
from training.drift import MatureRows, NewRows, find_drift
from training.drift_report import Measured
from training.effective import Entities, entities_of
from training.frame import TrainingFrame
from training.metrics import DAY_US, Scores
from training.replay import Replay

START = datetime(2026, 1, 1, tzinfo=UTC)
FIT, LATER, WEEK, END = 31, 42, 47, 56
"""Days from the start: histories are full when rows begin, and the week that is looked at is whole."""
DELAY = timedelta(days=2)
Change = Callable[[Played], Played]


def days_in(frame: TrainingFrame) -> NDArray[np.int64]:
    """The day of each row, counted from the start."""
    return (frame.event_time_us - micros(START)) // DAY_US


@dataclass(frozen=True)
class World:
    """`before` are the rows up to the week, `score` gives those of any rows; `at_week` goes on from there."""

    before: TrainingFrame
    profile: Profile
    score: Callable[[TrainingFrame], Scores]
    week: tuple[Played, ...]
    replay: Replay

    def at_week(self, change: Change = lambda one: one) -> TrainingFrame:
        """The rows of the week, its transactions changed, with the same histories before it."""
        views = {view.name: view for view in FRAUD.views}
        histories = {key: History.decode(views[key[0]], one.encode()) for key, one in self.replay.histories.items()}
        frame = Replay(FRAUD, histories, deepcopy(self.replay.feed)).advance(
            map(change, self.week), collect_from=START + timedelta(days=WEEK), keep_records=True
        )
        assert frame is not None
        return frame.where(days_in(frame) < WEEK + 7)

    @cached_property
    def ordinary_week(self) -> TrainingFrame:
        """The rows of the week as it was."""
        return self.at_week()

    def look(
        self, frame: TrainingFrame, score: Scores | None = None, y: NDArray[np.int8] | None = None
    ) -> list[Measured]:
        """What drift is found in a week's rows."""
        score = self.score(frame) if score is None else score
        y = frame.y if y is None else y
        assert frame.records is not None
        assert self.before.records is not None
        later = self.before.where(days_in(self.before) >= LATER)
        assert later.records is not None
        earlier = self.score(later)
        rows = NewRows(
            X=frame.X,
            feature_names=frame.feature_names,
            entities_of=entities_of(FRAUD),
            entities=Entities(frame.records.tolist(), FRAUD.entities),
            scores={"all": score, "batch": score},
            earlier={"all": earlier},
            earlier_entities=Entities(later.records.tolist(), FRAUD.entities),
        )
        mature = MatureRows(
            np.concatenate([later.y, y]),
            np.concatenate([earlier, score]),
            np.concatenate([later.card, frame.card]),
            len(y),
        )
        return find_drift(self.profile, rows, mature)


@cache
def world(seed: int) -> World:
    """The same world for the same seed."""
    played = Simulator(
        seed,
        start=START,
        end=START + timedelta(days=END),
        customers=110,
        merchants=60,
        fraud_share=0.02,
        chargeback_window=DELAY,
    ).play()
    every = list(played)
    cut = START + timedelta(days=WEEK)
    replay = Replay(FRAUD)
    before = replay.advance(
        [one for one in every if one.transaction.event_timestamp < cut],
        collect_from=START + timedelta(days=FIT),
        keep_records=True,
    )
    assert before is not None
    day = days_in(before)
    fit, later = np.flatnonzero(day < LATER), np.flatnonzero(day >= LATER)
    known = np.nan_to_num(before.X)
    middle, spread = known[fit].mean(axis=0), known[fit].std(axis=0) + 1e-9

    def scaled(frame: TrainingFrame) -> NDArray[np.float64]:
        return np.asarray(np.clip((np.nan_to_num(frame.X) - middle) / spread, -5.0, 5.0), dtype=np.float64)

    model = LogisticRegression(C=0.02, max_iter=200).fit(scaled(before)[fit], before.y[fit])

    def score(frame: TrainingFrame) -> Scores:
        return np.asarray(model.predict_proba(scaled(frame))[:, 1], dtype=np.float64)

    profile = profile_of(before, fit, later, score(before)[later])
    week = tuple(one for one in every if one.transaction.event_timestamp >= cut)
    return World(before, profile, score, week, replay)
