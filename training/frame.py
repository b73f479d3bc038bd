"""What a model is fitted to and judged by: vectors as they were scored, with their labels.

Apart from what fits (`training/batch.py`): whoever only judges or watches need not import a library of trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import Matrix
from training.metrics import Labels


@dataclass(frozen=True)
class TrainingFrame:
    """Vectors as they were scored, and what became of them.

    `X` has shape (n_rows, n_features), NaN for unknown; `y` is 1 for fraud and 0 for legit, shape (n_rows,);
    `event_time_us` is microseconds since 1970, in any order; `card` names each row's card. Labels that became known
    after `label_cutoff_us` are not in it (None: all up to the last event). `records` are the events themselves, for
    what goes by amount or segment; None where nobody kept them.
    """

    X: Matrix
    y: Labels
    event_time_us: NDArray[np.int64]
    card: NDArray[Any]
    feature_names: tuple[str, ...]
    definition_hash: str
    label_cutoff_us: int | None = None
    records: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        n_rows, n_features = len(self.y), len(self.feature_names)
        if self.records is not None and self.records.shape != (n_rows,):
            raise ValueError(f"there are records of shape {self.records.shape} for {n_rows} labels")
        shapes = [self.X.shape, self.event_time_us.shape, self.card.shape]
        if shapes != [(n_rows, n_features), (n_rows,), (n_rows,)]:
            raise ValueError(
                f"X, event_time_us and card have shapes {shapes} for {n_rows} labels and {n_features} names"
            )
        if np.isinf(self.X).any():
            column = self.feature_names[int(np.flatnonzero(np.isinf(self.X).any(axis=0))[0])]
            raise ValueError(f"feature {column!r} is infinite in some rows; give NaN where it is unknown")

    def where(self, wanted: NDArray[np.bool_] | NDArray[np.intp]) -> TrainingFrame:
        """The rows that are wanted, shape (n_rows,), or those at these places; all else as it is."""
        return replace(
            self,
            X=self.X[wanted],
            y=self.y[wanted],
            event_time_us=self.event_time_us[wanted],
            card=self.card[wanted],
            records=None if self.records is None else self.records[wanted],
        )
