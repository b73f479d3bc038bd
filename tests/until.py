"""Waiting for what comes about by itself, by looking again and again; for as long as a very busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 240.0


def until(true: Callable[[], bool], waited_for: str | Callable[[], object] = "", every_s: float = 0.05) -> None:
    """Return once it is true. Fails after `LIMIT_S`, with what was `waited_for`, or what that says then."""
    end = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > end:
            told = waited_for() if callable(waited_for) else waited_for
            raise AssertionError(f"it did not come about in {LIMIT_S:g} s: {told}")
        time.sleep(every_s)
