"""The members that a candidate is made of, fitted for one fold each: batch families, and the online learner.

All of them are what serves: the families of `training/families.py`, which go to ONNX; the online member as the learner
runs it; both combined by the weights that serve. The feedback member is not among them: it learns from what analysts
find the next day, and the protocol has every label 7 days late (`headrace bench learning` measures it).
"""

from __future__ import annotations

from collections import deque
from datetime import date
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bench.handbook_further import FURTHER
from bench.handbook_protocol import DELAY_DAYS, Fold, Places, day_number, judged_rows, training_rows
from bench.handbook_rows import Rows
from features.fraud import FRAUD
from models.contract import Matrix, Vector
from models.ensemble import FRAUD_WEIGHTS
from models.online import OnlineLearner
from models.onnx_export import to_float32
from models.snapshot import OnlineSnapshot
from training.families import FAMILIES
from training.metrics import DAY_US
from training.replay import in_share

FEATURES = {"fraud": FRAUD.names, "further": FURTHER.names}
MATURED_FROM = date(2018, 5, 9)
"""The first day whose longest window, 30 days that end 7 days before, is full."""
ONE_LEGIT_IN = 10
"""Of many weeks all frauds are fitted and a tenth of the legit events, by their ids: at 0.8% fraud nearly as much."""
CHANGES: dict[str, dict[str, Any]] = {
    # A fixed number of trees: stopping early would take the newest days away from fitting.
    "hist_gradient_boosting": {"max_iter": 120, "n_iter_no_change": 120, "min_samples_leaf": 20},
    "logistic_regression": {},
}
ONLINE_FROM = date(2018, 6, 6)
"""Four weeks before the first judged week: from then on the online member sees and learns."""
ONLINE_SHARE = 0.1
"""Of the cards: each event costs River some tenths of a millisecond."""
DELAY_US = DELAY_DAYS * DAY_US


class Members:
    """Fits each member once for each fold, and remembers what it said of the judged rows."""

    def __init__(self) -> None:
        self._batch: dict[tuple[Any, ...], Vector] = {}
        self._online: dict[str, OnlineDays] = {}

    def batch(self, rows: Rows, fold: Fold, features: str, since: date | None, family: str) -> Vector:
        """What a family says of the judged rows, fitted on the training week, or on all rows since a day."""
        key = (fold, features, since, family)
        if key not in self._batch:
            train = training_rows(rows, fold, since)
            share = 1.0
            if since is not None:
                train, share = _fewer_legit(rows, train), 1.0 / ONE_LEGIT_IN
            self._batch[key] = _fitted(rows, train, judged_rows(rows, fold), FEATURES[features], family, share)
        return self._batch[key]

    def with_online(self, rows: Rows, fold: Fold, features: str, batch: Vector) -> Vector:
        """The batch scores and the online member's, by the weights that serve."""
        if features not in self._online:
            self._online[features] = OnlineDays(FEATURES[features], ONLINE_FROM)
        online = self._online[features].scores(rows, fold)
        of_batch, of_online = FRAUD_WEIGHTS.shares(("batch", "online"))
        return of_batch * batch + of_online * online


class OnlineDays:
    """The online member as it stood at the start of each day, fed in the order of events, each label 7 days late.

    One pass for all folds: it goes on where it ended. Rows given later must begin with the same days.
    """

    def __init__(self, names: tuple[str, ...], since: date) -> None:
        self._names = names
        self._learner = OnlineLearner(names)
        self._since = self._next = day_number(since)
        self._began: dict[int, OnlineSnapshot] = {}
        self._waiting: deque[tuple[int, Vector, bool]] = deque()

    def scores(self, rows: Rows, fold: Fold) -> Vector:
        """What it says of the judged rows of a fold."""
        judged = judged_rows(rows, fold)
        score = np.empty(len(judged))
        for day in np.unique(rows.day[judged]).tolist():
            today = rows.day[judged] == day
            score[today] = self._at(rows, day).score_many(rows.vectors(judged[today], self._names))
        return score

    def _at(self, rows: Rows, day: int) -> OnlineSnapshot:
        while self._next <= day:
            self._began[self._next] = OnlineSnapshot(self._learner.to_weights())
            self._live(rows, self._next)
            self._next += 1
        return self._began[day]

    def _live(self, rows: Rows, day: int) -> None:
        """One day: labels are learned when they are known, events are observed when they come."""
        first, end = np.searchsorted(rows.day, [day, day + 1]).tolist()
        sampled = [row for row in range(first, end) if in_share(str(rows.card[row]), ONLINE_SHARE)]
        vectors = rows.vectors(np.array(sampled, dtype=np.intp), self._names)
        for row, x in zip(sampled, vectors, strict=True):
            at_us = int(rows.event_time_us[row])
            while self._waiting and self._waiting[0][0] <= at_us:
                _, known, is_fraud = self._waiting.popleft()
                self._learner.learn_one(known, is_fraud)
            self._learner.observe(x)
            self._waiting.append((at_us + DELAY_US, x, bool(rows.y[row])))


def _fewer_legit(rows: Rows, train: Places) -> Places:
    drawn = np.array([crc32(str(one).encode()) % ONE_LEGIT_IN == 0 for one in rows.event_id[train]], dtype=np.bool_)
    kept: Places = train[drawn | (rows.y[train] != 0)]
    return kept


def _fitted(rows: Rows, train: Places, judged: Places, names: tuple[str, ...], family: str, legit: float) -> Vector:
    """Probabilities of the judged rows; `legit` is the share of the legit rows that was fitted."""
    X, later = to_float32(rows.vectors(train, names)), to_float32(rows.vectors(judged, names))
    said = _known(X)
    y = rows.y[train]
    estimator, _ = FAMILIES[family].fit((X[:, said], y), (X[:1000, said], y[:1000]), CHANGES[family])
    raw = estimator.predict_proba(later[:, said])[:, 1]
    return raw * legit / (raw * legit + 1.0 - raw)


def _known(X: Matrix) -> NDArray[np.bool_]:
    """The features that anyone sent: no tree splits on the others."""
    return np.asarray(~np.isnan(X).all(axis=0), dtype=np.bool_)
