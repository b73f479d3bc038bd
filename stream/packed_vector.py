"""Vectors of features as a logged slate holds them: float32 after float32, a third of their size as JSON numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.records import PackedVector

_FLOAT32 = np.dtype("<f4")


def packed(values: NDArray[np.float32]) -> bytes:
    """The values one after another, little-endian. NaN and infinity are unknown to whoever reads them.

    >>> unpacked(packed(np.array([1.5, np.nan, np.inf], dtype=np.float32))).tolist()
    [1.5, nan, nan]
    """
    return values.astype(_FLOAT32, copy=False).tobytes()


def packed_rows(rows: NDArray[np.float32]) -> list[bytes]:
    """Each row of shape (n_rows, n_values), packed."""
    whole, width = packed(rows), rows.shape[1] * _FLOAT32.itemsize
    return [whole[at : at + width] for at in range(0, len(whole), width)]


def unpacked(vector: PackedVector) -> NDArray[np.float32]:
    """What was packed or listed, NaN where unknown. Raises `ValueError` for bytes that are no whole numbers of it."""
    # None in a list is NaN.
    values = np.frombuffer(vector, dtype=_FLOAT32) if isinstance(vector, bytes) else np.array(vector, dtype=np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan)).astype(np.float32, copy=False)


def listed(vector: PackedVector) -> list[float | None]:
    """The same as a list, None where unknown."""
    return [None if value != value else value for value in unpacked(vector).tolist()]  # noqa: PLR0124
