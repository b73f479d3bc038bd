"""Parts of the rows by what the records have: a model that is better on the whole can be worse to some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Interval, SegmentMetrics
from scoring.policy import Policy
from training.card_draws import CardDraws, RankedRows, interval
from training.metrics import Labels, Scores

Mask = NDArray[np.bool_]
AMOUNT_EDGES = (20.0, 100.0, 500.0, 2000.0)
"""In units of the record's currency: small change, daily shopping, larger things, travel, and what is rare."""
SEGMENT_LIMIT = 30
ALL = "all"
DRAWS = 200


def amount_band(amount: float) -> str:
    """Between which edges an amount lies.

    >>> [amount_band(amount) for amount in (3.0, 20.0, 5000.0)]
    ['below 20', '20 to 100', '2000 and more']
    """
    for low, high in pairwise((0.0, *AMOUNT_EDGES)):
        if amount < high:
            return f"{low:g} to {high:g}" if low else f"below {high:g}"
    return f"{AMOUNT_EDGES[-1]:g} and more"


KINDS: dict[str, Callable[[Any], str]] = {
    "amount": lambda record: amount_band(record.amount),
    "currency": lambda record: str(record.currency),
    "device": lambda record: "unknown" if record.device_id is None else "known",
    "place": lambda record: "unknown" if record.latitude is None else "known",
}
"""What splits records, by its name. Each gives the part that a record is in."""


def segments_of(records: Sequence[Any], policy: Policy | None = None) -> dict[str, Mask]:
    """Which rows are in which part, by `kind: part`; kinds that do not split these rows are left out.

    The most frequent `SEGMENT_LIMIT` parts at most. With a policy, also the parts to which its own numbers apply.
    """
    kinds = dict(KINDS)
    if policy is not None and policy.segments:
        kinds["policy"] = lambda record: segment_of(policy, record)
    parts: dict[str, NDArray[Any]] = {}
    sizes: Counter[str] = Counter()
    for kind, part_of in kinds.items():
        named = np.array([f"{kind}: {part_of(record)}" for record in records])
        found, counts = np.unique(named, return_counts=True)
        if len(found) > 1:
            parts |= dict.fromkeys(found.tolist(), named)
            sizes.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    return {name: parts[name] == name for name, _ in sizes.most_common(SEGMENT_LIMIT)}


def segment_of(policy: Policy, record: Any) -> str:
    """The name of the first segment of a policy whose condition holds."""
    return next((segment.name for segment in policy.segments if segment.applies(record)), "default")


def metrics_by_segment(
    card: NDArray[Any], label: Labels, score: Scores, segments: Mapping[str, Mask]
) -> dict[str, SegmentMetrics]:
    """How good scores were on each part, and on all rows; intervals by card."""
    found = {}
    for name, rows in {ALL: np.ones(len(label), dtype=bool), **segments}.items():
        found[name] = SegmentMetrics(
            rows=int(rows.sum()),
            frauds=int(np.count_nonzero(label[rows])),
            mean_score=float(score[rows].mean()),
            average_precision=average_precision_interval(card[rows], label[rows], score[rows]),
        )
    return found


def average_precision_interval(card: NDArray[Any], label: Labels, score: Scores) -> Interval | None:
    """The average precision with its interval by card; None where a class is missing."""
    draws = CardDraws(card, DRAWS)
    rows = RankedRows(draws.index, score, label)
    value = rows.average_precision(np.ones(len(draws.cards), dtype=np.int64))
    if value is None:
        return None
    drawn = [one for one in map(rows.average_precision, draws) if one is not None]
    return interval(value, np.array(drawn))
