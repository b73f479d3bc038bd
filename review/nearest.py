"""The decided cases that look most like one: by the features as they were scored."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from review.case import Case
from review.case_rows import COLUMNS, CaseRows
from review.tables import CASES, VECTORS
from stream.records import Verdict

NEWEST = 5000
K_LIMIT = 50
CLIP = 6.0
"""Deviations: one feature that is far off says no more than that it is."""
FLOAT32_MOST = 3e38
LEAST_SHARED = 0.5
"""Of the known features of the case, another must know this share to be compared."""

Floats = npt.NDArray[np.float32]


class Similar(msgspec.Struct, frozen=True, kw_only=True):
    """A decided case, its verdict, and how far it is: the root mean square of the differences, in deviations."""

    case: Case
    distance: float
    verdict: Verdict


def packed(vector: Sequence[float | None]) -> bytes:
    """A vector as it is kept.

    >>> packed([1.0, None]).hex()
    '0000803f0000c07f'
    """
    every = np.array([np.nan if value is None else value for value in vector], np.float64)
    return np.clip(every, -FLOAT32_MOST, FLOAT32_MOST).astype("<f4").tobytes()


def distances(own: Floats, others: Floats) -> Floats:
    """How far each row is from a vector, infinite where too little is known of both.

    Features are measured in deviations of these rows, so that an amount weighs no more than an hour. A feature that
    is the same in all of them says nothing.
    """
    known = ~np.isnan(others)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, others, 0.0).astype(np.float64)
    mean = filled.sum(axis=0) / count
    spread = np.sqrt(np.where(known, (filled - mean) ** 2, 0.0).sum(axis=0) / count)
    telling = (spread > 0.0) & ~np.isnan(own)
    if not telling.any():
        return np.full(len(others), np.inf, np.float32)
    shared = known[:, telling]
    off = (filled[:, telling] - own[telling].astype(np.float64)) / spread[telling]
    squares = np.where(shared, np.clip(off, -CLIP, CLIP) ** 2, 0.0).sum(axis=1)
    number = shared.sum(axis=1)
    far = np.sqrt(squares / np.maximum(number, 1))
    return np.where(number >= LEAST_SHARED * telling.sum(), far, np.inf).astype(np.float32)


class Nearest(CaseRows):
    """Looks back."""

    def nearest(self, case_id: str, k: int = 5) -> list[Similar]:
        """Up to `k` of the newest decided cases with features of the same definition, the nearest first.

        Raises `UnknownCase`, and `ValueError` if `k` is not 1 to 50. Empty where nothing can be compared.
        """
        if not 1 <= k <= K_LIMIT:
            raise ValueError(f"k is {k}; ask for 1 to {K_LIMIT} cases")
        with self.database.reading() as db:
            own = db.execute(
                select(VECTORS.c.definition_hash, VECTORS.c.vector).where(VECTORS.c.case_id == case_id)
            ).one_or_none()
            if own is None:
                self._one(db, case_id)
                return []
            newest = (
                select(CASES.c.case_id, VECTORS.c.vector)
                .join(VECTORS, VECTORS.c.case_id == CASES.c.case_id)
                .where(CASES.c.status == "decided", VECTORS.c.definition_hash == own.definition_hash)
                .order_by(CASES.c.decided_at_us.desc(), CASES.c.case_id.desc())
                .limit(NEWEST + 1)
            )
            rows = [row for row in db.execute(newest) if row.case_id != case_id and len(row.vector) == len(own.vector)]
            if not rows or not own.vector:
                return []
            others = np.frombuffer(b"".join(row.vector for row in rows), "<f4").reshape(len(rows), -1)
            far = distances(np.frombuffer(own.vector, "<f4"), others)
            order = [int(place) for place in np.argsort(far, kind="stable")[:k] if np.isfinite(far[place])]
            ids = [rows[place].case_id for place in order]
            found = {one.case_id: one for one in self._found(db, select(*COLUMNS).where(CASES.c.case_id.in_(ids)))}
        similar = ((found[rows[place].case_id], float(far[place])) for place in order)
        return [
            Similar(case=case, distance=distance, verdict=case.verdict)
            for case, distance in similar
            if case.verdict is not None
        ]
