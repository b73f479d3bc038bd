"""How often a folding process looks for reference cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

CONTAINERS = 50_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles after every 50,000 new containers, not every 700, for as long as it lasts; also a decorator.

    A batch of 1000 events makes some 40,000 containers that live until its end, and no cycles: looking through them
    over and over was a sixth of the worker's processor time. Trap: the setting is the process's, not the thread's.
    """
    before = gc.get_threshold()
    gc.set_threshold(CONTAINERS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
