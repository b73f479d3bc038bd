"""Arrays that grow with the number of items: by doubling, the new part filled."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def grown(array: NDArray[Scalar], rows: int, fill: float = 0) -> NDArray[Scalar]:
    """The array itself where it has as many rows, or a longer one that begins with it.

    Readers beside the writer keep the old one, and so need no lock.
    """
    if rows <= array.shape[0]:
        return array
    length = max(64, array.shape[0])
    while length < rows:
        length *= 2
    shape = (length, *array.shape[1:])
    # Zeros cost no memory until they are written.
    longer = np.zeros(shape, array.dtype) if fill == 0 else np.full(shape, fill, array.dtype)
    longer[: array.shape[0]] = array
    return longer
