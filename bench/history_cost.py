"""What one event costs at one full history: decode, fold, encode, and read every window of the view."""

from __future__ import annotations

import time
from random import Random

import numpy as np

from bench.feature_load import STEP_US, T0_US, payments
from bench.figures import Figure, Figures
from features.fraud import CARD
from features.history import History
from features.scan import Scan
from features.view import ROW_BUDGET

WARM_UP = 20
MINUTE_STEPS = 60


def history_cost(rounds: int) -> Figures:
    """Times of one step at the card view's history, its rows a minute or so apart.

    At exactly 256 rows: 255 stored, one folded, all read. Busy: the same card goes on, so that every few dozen events
    the oldest rows are merged, which the p99 shows.
    """
    scan = Scan(CARD)
    random = Random(5)
    rows = [CARD.row(one) for one in payments(ROW_BUDGET + WARM_UP + rounds, seed=5, cards=1)]
    spread = [_moved(row, i * MINUTE_STEPS * STEP_US + random.randrange(STEP_US)) for i, row in enumerate(rows) if row]
    first = History(CARD)
    first.fold_all(spread[: ROW_BUDGET - 1])
    stored = first.encode()
    steady, reads = [], []
    for _ in range(WARM_UP + rounds):
        started = time.perf_counter()
        history = History.decode(CARD, stored)
        history.fold(spread[ROW_BUDGET - 1])
        history.encode()
        folded = time.perf_counter()
        scan.read(history, history.newest_us)
        ended = time.perf_counter()
        steady.append((ended - started) * 1e6)
        reads.append((ended - folded) * 1e6)
    if len(history.rows) != ROW_BUDGET * CARD.row_size:
        raise RuntimeError(f"the history has {len(history.rows) // CARD.row_size} rows, not {ROW_BUDGET}")
    busy, state = [], history.encode()
    for row in spread[ROW_BUDGET:]:
        started = time.perf_counter()
        history = History.decode(CARD, state)
        history.fold(row)
        state = history.encode()
        scan.read(history, history.newest_us)
        busy.append((time.perf_counter() - started) * 1e6)
    what = f"{len(CARD.features)} features over {len(CARD.windows)} windows of the card view"
    step = f"decode + fold one row + encode + read {what}; {rounds} rounds, in memory"
    return {
        "one entity, 256 rows, p50": _us(steady[WARM_UP:], 50, step),
        "one entity, 256 rows, reading alone, p50": _us(reads[WARM_UP:], 50, f"read {what}, of a decoded history"),
        "one entity, busy, p50": _us(busy[WARM_UP:], 50, "the same, the card going on at 224 to 256 rows"),
        "one entity, busy, p99": _us(busy[WARM_UP:], 99, "the same; shows the merging of the oldest rows"),
    }


def _us(values: list[float], percentile: int, note: str) -> Figure:
    return Figure(float(np.percentile(values, percentile)), "us", None, "lower", note)


def _moved(row: bytes, after_us: int) -> bytes:
    return (T0_US + after_us).to_bytes(8, "little", signed=True) + row[8:]
