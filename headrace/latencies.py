"""Latencies as the summary of a demo has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def percentile_ms(took_ms: Sequence[float], percent: float) -> float | None:
    """A percentile to the microsecond; None where nothing was measured.

    >>> percentile_ms([1.0, 2.00049, 3.0], 50)
    2.0
    """
    return round(float(np.percentile(took_ms, percent)), 3) if took_ms else None


def in_ms(value: float | None) -> str:
    """As people read it; "-" where nothing was measured."""
    return "-" if value is None else f"{value:.2f} ms"
