"""What the members of an arm learn, and when: the batch model, the feedback model, and the one that learns online.

Each is given what is known at a moment, and never the truth of what is not.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.late_rows import WEEK_DAYS, LateRows
from models.contract import Vector
from models.online import OnlineLearner
from models.onnx import OnnxModel
from models.snapshot import OnlineSettings, OnlineWeights
from stream.records import from_micros
from training.batch import NotEnoughToLearn, SplitDays, Trained, train
from training.feedback import train_feedback
from training.frame import TrainingFrame
from training.metrics import DAY_US

BATCH_DAYS = 56
"""A batch model that is trained again takes so many of the newest days whose labels are all known."""
SPLIT = SplitDays(gap=0)
"""Nothing between fit and calibration: the nearer to the present a batch model is fitted, the better a rival it is."""
BACKGROUND = 5_000
"""Rows of the population beside the verdicts: fewer than in service, as the worlds have fewer cards and so verdicts."""


def batch_scores(rows: LateRows, *, weekly: bool, family: str = "hist_gradient_boosting") -> Vector:
    """What the batch member says of the judged rows, trained once when scoring begins, or again each week."""
    scores = np.full(len(rows.frame.y), np.nan)
    step_us = WEEK_DAYS * DAY_US if weekly else rows.ends_us - rows.begins_us
    for now_us in range(rows.begins_us, rows.ends_us, step_us):
        trained = train(known_frame(rows, now_us, BATCH_DAYS), family, created_at=from_micros(now_us), split=SPLIT)
        part = rows.between(now_us, min(now_us + step_us, rows.ends_us))
        scores[part] = _model(trained).score_many(rows.frame.X[part])
    return scores[rows.judged]


def known_frame(rows: LateRows, now_us: int, days: int) -> TrainingFrame:
    """The newest rows of which every label is known by now, so many days.

    Younger ones are left out whole: frauds become known sooner than the rest, and would be nearly all there is.
    """
    until_us = now_us - rows.longest_delay_us
    part = rows.between(until_us - days * DAY_US, until_us)
    return some(rows.frame, np.arange(part.start, part.stop), now_us)


def feedback_model(verdicts: TrainingFrame, population: TrainingFrame, now_us: int) -> OnnxModel | None:
    """The feedback member of these rows; None where there are too few verdicts yet."""
    at = from_micros(now_us)
    try:
        return _model(train_feedback(verdicts, population, created_at=at, name="fraud-feedback", background=BACKGROUND))
    except NotEnoughToLearn:
        return None


@dataclass(frozen=True)
class Beginning:
    """The online member as it is when scoring begins, and which rows it has learned. It is the same in all arms."""

    weights: OnlineWeights
    learned: NDArray[np.bool_]


def online_beginning(rows: LateRows, settings: OnlineSettings | None = None) -> Beginning:
    """Let the online member learn up to where scoring begins, from the first row on."""
    learner = OnlineLearner(rows.frame.feature_names, definition_hash=rows.frame.definition_hash, settings=settings)
    labels = OnlineLabels(rows, learner, np.zeros(len(rows.frame.y), dtype=np.bool_))
    for row in range(rows.judged.start):
        labels.learn_until(int(rows.frame.event_time_us[row]))
        learner.observe(rows.frame.X[row])
    return Beginning(learner.to_weights(), labels.learned)


def online_member(rows: LateRows, beginning: Beginning | None) -> tuple[OnlineLearner | None, OnlineLabels | None]:
    """Its learner and its labels, gone on from the beginning; none where the arm has no online member."""
    if beginning is None:
        return None, None
    learner = OnlineLearner.from_weights(beginning.weights)
    return learner, OnlineLabels(rows, learner, beginning.learned.copy())


class OnlineLabels:
    """Gives an online member each label once, when it is first known: from an analyst, or from the feed."""

    def __init__(self, rows: LateRows, learner: OnlineLearner, learned: NDArray[np.bool_]) -> None:
        self.learned = learned
        self._rows = rows
        self._learner = learner
        # By the moment, then by the event's: as the feed lets them out.
        waiting = np.flatnonzero(~learned)
        self._feed = waiting[np.argsort(rows.known_us[waiting], kind="stable")].tolist()
        self._feed.reverse()
        self._verdicts: list[tuple[int, int]] = []

    def add_verdict(self, known_us: int, row: int) -> None:
        """An analyst looked at a row; what was found is known from then on."""
        heapq.heappush(self._verdicts, (known_us, row))

    def learn_until(self, now_us: int) -> None:
        """Learn what is known by now and was not before, in the order in which it became known."""
        known_us = self._rows.known_us
        while True:
            feed_us = known_us[self._feed[-1]] if self._feed else now_us + 1
            verdict_us = self._verdicts[0][0] if self._verdicts else now_us + 1
            if min(feed_us, verdict_us) > now_us:
                return
            row = heapq.heappop(self._verdicts)[1] if verdict_us <= feed_us else self._feed.pop()
            if not self.learned[row]:  # the other way it came, it only confirms
                self.learned[row] = True
                self._learner.learn_one(self._rows.frame.X[row], bool(self._rows.frame.y[row]))


def online_day(rows: LateRows, part: slice, learner: OnlineLearner, labels: OnlineLabels) -> Vector:
    """What it says of the rows of a day, in turn, shape (n_rows,)."""
    scores = np.full(part.stop - part.start, np.nan)
    for place, row in enumerate(range(part.start, part.stop)):
        # 1. Learn what is known by now.  2. Score.  3. See the event.  As in training/prequential.py.
        labels.learn_until(int(rows.frame.event_time_us[row]))
        if learner.ready:
            scores[place] = learner.score_one(rows.frame.X[row])
        learner.observe(rows.frame.X[row])
    return scores


def some(frame: TrainingFrame, places: NDArray[np.intp], now_us: int) -> TrainingFrame:
    """The rows at these places, as they are known now."""
    return replace(frame.where(places), label_cutoff_us=now_us)


def _model(trained: Trained) -> OnnxModel:
    return OnnxModel(trained.onnx_bytes, trained.manifest)
