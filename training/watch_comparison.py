"""A version against the champion, on the events that the champion answered and the version was asked of too."""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from models.contract import Vector
from models.profile import sketch
from scoring.watch_report import Comparison, Side
from stream.records import Outcome, from_micros
from training.distance import psi
from training.metrics import Labels, average_precision
from training.watch_store import WatchStore

PER_EVENTS = 1000.0
QUANTILES = {"p1": 0.01, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_COLUMNS = "score, outcome, expected_cost, cost_fraud, cost_legit"


class _Rows(NamedTuple):
    """One model's part of the rows: what was said, which outcome (of `OUTCOMES`) and what each would cost."""

    score: Vector
    outcome: NDArray[np.int64]
    expected_cost: Vector
    cost_fraud: Vector
    cost_legit: Vector

    def side(self, mature: NDArray[np.bool_], label: Labels) -> Side:
        """The figures; those of labels over the `mature` rows, whose labels are `label`."""
        is_alert = self.outcome != OUTCOMES.index("approve")
        alerts, frauds = is_alert[mature], label != 0
        caught = int(np.count_nonzero(alerts & frauds))
        cost = np.where(frauds, self.cost_fraud[mature], self.cost_legit[mature])
        quantiles = np.quantile(self.score, list(QUANTILES.values())).tolist()
        return Side(
            quantiles=dict(zip(QUANTILES, quantiles, strict=True)),
            alert_rate=float(is_alert.mean()),
            expected_cost=float(self.expected_cost.mean()) * PER_EVENTS,
            precision=_share(caught, int(np.count_nonzero(alerts))),
            recall=_share(caught, int(np.count_nonzero(frauds))),
            average_precision=average_precision(label, self.score[mature]) if len(label) else None,
            cost=float(cost.mean()) * PER_EVENTS if len(cost) else None,
        )


def compare(store: WatchStore, version: str, champion: str, mature_until_us: int) -> Comparison | None:
    """The comparison; None where no event has both. Labels count of events up to `mature_until_us`."""
    chosen = ", ".join(f"{table}.{column}" for table in ("d", "o") for column in _COLUMNS.split(", "))
    found = store.db.execute(
        f"SELECT d.event_time_us, d.is_fraud, {chosen} FROM opinions o JOIN decisions d USING (arrival)"
        " WHERE o.version = ? AND d.version = ? AND d.answered ORDER BY d.event_time_us, d.event_id",
        (version, champion),
    ).fetchall()
    if not found:
        return None
    at_us, is_fraud, *columns = zip(*found, strict=True)
    champions, its = (_rows(columns[start : start + 5]) for start in (0, 5))
    time_us = np.array(at_us, dtype=np.int64)
    known = np.array([label is not None for label in is_fraud])
    mature = known & (time_us <= mature_until_us)
    label = np.array([bool(one) for one in is_fraud], dtype=np.int8)[mature]
    pairs, counts = np.unique(np.stack([champions.outcome, its.outcome]), axis=1, return_counts=True)
    table: dict[str, dict[str, int]] = {one: {other: 0 for other in OUTCOMES} for one in OUTCOMES}  # noqa: C420
    for one, other, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        table[OUTCOMES[one]][OUTCOMES[other]] = count
    bins = sketch(champions.score)
    return Comparison(
        version=version,
        champion=champion,
        rows=len(found),
        first=from_micros(int(time_us[0])),
        last=from_micros(int(time_us[-1])),
        psi=psi(bins.shares_of(champions.score), bins.shares_of(its.score), len(found), len(found)),
        agreement=float(np.mean(champions.outcome == its.outcome)),
        outcomes=table,
        labelled=len(label),
        frauds=int(np.count_nonzero(label)),
        its=its.side(mature, label),
        champions=champions.side(mature, label),
    )


def _rows(columns: list[tuple[object, ...]]) -> _Rows:
    score, outcome, *costs = columns
    places = np.array([OUTCOMES.index(one) for one in outcome], dtype=np.int64)
    return _Rows(np.array(score, dtype=np.float64), places, *(np.array(cost, dtype=np.float64) for cost in costs))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
