"""Test, then learn, over a file: each event is scored by what was known at its time, then its label teaches, late.

The batch member is a registered model, fixed. The online member begins anew and learns each label when it arrives, as
the live learner does: the scaler sees every event by its time, a label teaches the vector that was scored. Both are
combined with the weights that serve, and the policy alone decides: no rules, nothing let through, no bound on analysts.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import numpy as np

from features.feature_set import FeatureSet
from models.contract import Matrix
from models.ensemble import EnsembleWeights, Opinion, combine
from models.online import OnlineLearner
from models.onnx import OnnxModel
from stream.played import Played
from stream.records import from_micros, micros
from training.judged_rows import ALL, JudgedRows
from training.matured import Fates
from training.metrics import Scores
from training.policy_cost import PolicyCost
from training.replay import Replay, in_share, objects

BATCH, ONLINE = "batch", "online"


class Stretch(NamedTuple):
    """Which part of a file is scored, from `start` on, and of which share of the cards. Histories begin before it."""

    start: datetime
    share: float = 1.0


def prequential(
    features: FeatureSet,
    played: Iterable[Played],
    stretch: Stretch,
    model: OnnxModel,
    weights: EnsembleWeights,
    costs: PolicyCost,
    on_event: Callable[[int], None] = lambda count: None,
) -> JudgedRows:
    """Replay transactions in time order and judge what would have been said of those from `stretch.start` on.

    Raises `ValueError` where the model takes other features than these, or nothing of the stretch has matured.
    """
    if model.manifest.definition_hash != features.definition_hash:
        raise ValueError(
            f"version {model.version} is of definition {model.manifest.definition_hash}, the features are "
            f"{features.definition_hash}; name another with --version, or go back to the code of that time"
        )
    known_us: dict[str, int] = {}
    counts = {"seen": 0, "without": 0}
    frame = Replay(features).advance(
        _noted(played, stretch, known_us, counts),
        collect_from=stretch.start,
        share=stretch.share,
        on_event=on_event,
        keep_records=True,
    )
    assert frame is not None
    assert frame.records is not None
    assert frame.label_cutoff_us is not None
    rows = len(frame.y)
    immature = len(known_us) - rows
    if not rows:
        raise ValueError(
            f"of {counts['seen']:,} transactions from {stretch.start:%Y-%m-%d %H:%M} on none has matured by "
            f"{from_micros(frame.label_cutoff_us):%Y-%m-%d %H:%M}; begin earlier with --from"
        )
    batch = model.score_many(frame.X)
    known = np.array([known_us[record.event_id] for record in frame.records], dtype=np.int64)
    learner = OnlineLearner(frame.feature_names, definition_hash=features.definition_hash)
    online = online_scores(learner, frame.X, frame.event_time_us, known, frame.y)
    combined = [
        combine(
            {BATCH: Opinion(one), ONLINE: Opinion(other, ready=not np.isnan(other))},
            weights,
        ).score
        for one, other in zip(batch.tolist(), online.tolist(), strict=True)
    ]
    score = np.array([np.nan if one is None else one for one in combined], dtype=np.float64)
    choices = costs.choices(frame.records.tolist(), np.nan_to_num(score))
    return JudgedRows(
        y=frame.y,
        event_time_us=frame.event_time_us,
        card=frame.card,
        records=frame.records,
        scores={ALL: score, BATCH: batch, ONLINE: online},
        outcome=objects([choice.outcome for choice in choices]),
        expected_cost=np.array([getattr(choice.expected, choice.outcome) for choice in choices], dtype=np.float64),
        versions={BATCH: {model.version: rows}, ONLINE: _versions(learner, online)},
        policies={costs.policy.version: rows},
        fates=Fates(counts["seen"], rows, immature, counts["without"], 0, frame.label_cutoff_us),
    )


def online_scores(
    learner: OnlineLearner, X: Matrix, event_time_us: np.ndarray, known_us: np.ndarray, y: np.ndarray
) -> Scores:
    """What an online member says of rows in time order, each label learned when it is known; NaN until it is ready."""
    waiting: list[tuple[int, int]] = []
    scores = np.full(len(y), np.nan)
    for row, at_us in enumerate(event_time_us.tolist()):
        # 1. Learn what is known by now.  2. Score.  3. See the event.  Turned round, a row would know itself.
        while waiting and waiting[0][0] <= at_us:
            _, learned = heapq.heappop(waiting)
            learner.learn_one(X[learned], bool(y[learned]))
        if learner.ready:
            scores[row] = learner.score_one(X[row])
        learner.observe(X[row])
        heapq.heappush(waiting, (int(known_us[row]), row))
    return scores


def _noted(
    played: Iterable[Played], stretch: Stretch, known_us: dict[str, int], counts: dict[str, int]
) -> Iterator[Played]:
    for one in played:
        record = one.transaction
        if record.event_timestamp >= stretch.start and in_share(record.card_id, stretch.share):
            counts["seen"] += 1
            if one.fraud is None:
                counts["without"] += 1
            else:
                known_us[record.event_id] = micros(one.known_at)
        yield one


def _versions(learner: OnlineLearner, scores: Scores) -> dict[str, int]:
    said = int(np.count_nonzero(~np.isnan(scores)))
    return {f"up to {learner.version}": said} if said else {}
