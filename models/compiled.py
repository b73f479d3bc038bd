"""What compiled loops of several files have in common: how their sums may be taken, and arrays that they only read.

numba compiles a file's loops again when that file changes, not when this one does: after a change here, delete
`__pycache__/*.nbi` in every room.
"""

from __future__ import annotations

from numba import types

FAST_SUMS = {"reassoc", "contract", "nsz"}
"""For `fastmath`: sums in vector registers; the same order on every call of one machine."""


def read_only(kind: types.Type, dimensions: int = 1) -> types.Array:
    """A C-contiguous array that may be writable or not, whereas `kind[::1]` takes none that is not."""
    return types.Array(kind, dimensions, "C", readonly=True)
