"""Arms of a comparison: which members an ensemble has. Each scores the same rows and learns when labels are known.

An arm's analysts look, each day, at the cards that this arm scored highest, and their verdicts are known at noon of the
next day; all other labels come when the feed has them. So arms differ in what they are told as well: an arm that ranks
better hears of more frauds early, as it would in service. What nobody looked at teaches only when the feed knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.arm_members import Beginning, feedback_model, known_frame, online_day, online_member, some
from bench.late_rows import LateRows
from models.contract import Vector
from models.ensemble import BATCH, FEEDBACK, EnsembleWeights, Opinion, combine
from models.onnx import OnnxModel
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.prequential import ONLINE

HALF_DAY_US = DAY_US // 2
FEEDBACK_EVERY_DAYS = 3
VERDICT_DAYS = 30
POPULATION_DAYS = 14


class Arm(NamedTuple):
    """Which members are there, and whether the batch member is trained anew each week."""

    weekly: bool = False
    feedback: bool = False
    online: bool = False

    @property
    def name(self) -> str:
        """Such as "weekly batch + online"."""
        batch = "weekly batch" if self.weekly else BATCH
        if self.feedback and self.online:
            return f"{batch} + both"
        return f"{batch} + feedback" if self.feedback else f"{batch} + online" if self.online else f"{batch} only"

    @property
    def base(self) -> Arm:
        """The same batch member alone."""
        return Arm(weekly=self.weekly)


ARMS = tuple(
    Arm(weekly, feedback, online) for weekly in (False, True) for feedback in (False, True) for online in (False, True)
)


@dataclass(frozen=True)
class Said:
    """What an arm said of the judged rows: together, and each member (NaN where it said nothing), shape (n_judged,)."""

    score: Vector
    members: dict[str, Vector]
    verdicts: int
    """How many rows its analysts looked at."""


def run_arm(
    rows: LateRows,
    arm: Arm,
    batch: Vector,
    weights: EnsembleWeights,
    beginning: Beginning | None,
    feedback: Callable[[TrainingFrame, TrainingFrame, int], OnnxModel | None] | None = None,
) -> Said:
    """Score the judged rows in turn, and learn on the way.

    `batch` is what the batch member says of them, shape (n_judged,), `beginning` the online member's state where the
    arm has one; `feedback` trains the feedback member from verdicts, population and the time, None for the usual way.
    """
    judged = rows.judged
    train_member = feedback_model if feedback is None else feedback
    members = {BATCH: batch, FEEDBACK: np.full(len(batch), np.nan), ONLINE: np.full(len(batch), np.nan)}
    score = np.full(len(batch), np.nan)
    verdict_us = np.full(len(rows.frame.y), np.iinfo(np.int64).max)
    learner, labels = online_member(rows, beginning if arm.online else None)
    model: OnnxModel | None = None
    for number, day_us in enumerate(range(rows.begins_us, rows.ends_us, DAY_US)):
        part = rows.between(day_us, day_us + DAY_US)
        ours = slice(part.start - judged.start, part.stop - judged.start)
        # 1. Train on what is known at midnight.  2. Score the day, and learn between its events what becomes known.
        # 3. Let analysts look at it.  Turned round, a day would teach the model that scores it.
        if arm.feedback and number and number % FEEDBACK_EVERY_DAYS == 0:
            looked_at = (verdict_us <= day_us) & (rows.frame.event_time_us >= day_us - VERDICT_DAYS * DAY_US)
            verdicts = some(rows.frame, np.flatnonzero(looked_at), day_us)
            model = train_member(verdicts, known_frame(rows, day_us, POPULATION_DAYS), day_us) or model
        if model is not None:
            members[FEEDBACK][ours] = model.score_many(rows.frame.X[part])
        if learner is not None and labels is not None:
            members[ONLINE][ours] = online_day(rows, part, learner, labels)
        score[ours] = combined({name: said[ours] for name, said in members.items()}, weights)
        known_us = day_us + DAY_US + HALF_DAY_US
        for row in _looked_at(rows, part, score[ours]):
            verdict_us[row] = known_us
            if labels is not None:
                labels.add_verdict(known_us, row)
    return Said(score, members, int(np.count_nonzero(verdict_us < np.iinfo(np.int64).max)))


def combined(members: Mapping[str, Vector], weights: EnsembleWeights) -> Vector:
    """One score of each row, as the scorer combines them; a member that said NaN is left out."""
    columns = [said.tolist() for said in members.values()]
    scores = []
    for row in zip(*columns, strict=True):
        score = combine({name: Opinion(one) for name, one in zip(members, row, strict=True)}, weights).score
        scores.append(np.nan if score is None else score)
    return np.array(scores, dtype=np.float64)


def _looked_at(rows: LateRows, part: slice, score: Vector) -> list[int]:
    """The day's rows of the cards that scored highest."""
    if not rows.cards_a_day:
        return []
    cards, of_card = np.unique(rows.frame.card[part].astype(str), return_inverse=True)
    highest = np.full(len(cards), -np.inf)
    np.maximum.at(highest, of_card, score)
    chosen = np.argsort(-highest, kind="stable")[: rows.cards_a_day]
    return (part.start + np.flatnonzero(np.isin(of_card, chosen))).tolist()  # type: ignore[no-any-return]
