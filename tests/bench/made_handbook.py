"""Made transactions in the columns of the handbook's raw file, for where its own may not be."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from bench.handbook_rows import Rows
from stream.table import literal
from training.metrics import DAY_US

BEGINS, ENDS = date(2018, 4, 1), date(2018, 8, 15)
"""The first day, and the day after the last."""


def made_rows(seed: int = 0, *, days: int = 60, cards: int = 130, per_day: int = 200) -> Rows:
    """Rows from 2018-06-01 on: two features, of which the first tells fraud apart, more or less."""
    rng = np.random.default_rng(seed)
    first = (date(2018, 6, 1) - date(1970, 1, 1)).days
    day = np.repeat(np.arange(first, first + days), per_day)
    at_us = np.sort(day * DAY_US + rng.integers(0, DAY_US, len(day)))
    card = np.array([f"c{one}" for one in rng.integers(0, cards, len(day))], dtype=object)
    y = (rng.random(len(day)) < 0.03).astype(np.int8)
    X = np.column_stack([y + rng.normal(size=len(day)), rng.normal(size=len(day))])
    ids = np.array([str(one) for one in range(len(day))], dtype=object)
    return Rows(X, ("told", "noise"), ids, at_us, at_us // DAY_US, card, y)


def write_raw(path: Path, *, begins: date = BEGINS, ends: date = ENDS, cards: int = 150, per_day: int = 120) -> None:
    """A raw file: terminals go bad for three weeks each, and all that is paid there then is fraud."""
    rng = np.random.default_rng(begins.toordinal())
    days = (ends - begins).days
    rows = days * per_day
    origin = datetime(begins.year, begins.month, begins.day)
    seconds = np.sort(rng.integers(0, days * 86_400, rows))
    terminal = rng.integers(0, 80, rows)
    turn = (seconds // 86_400 + begins.toordinal()) // 21
    bad = (terminal + turn * 7) % 40 == 0
    amount = np.round(rng.gamma(2.0, 25.0, rows) + 1.0, 2)
    fraud = bad | (amount > 280.0)
    table = pa.table(
        {
            "TRANSACTION_ID": np.arange(rows) + begins.toordinal() * 1_000_000,
            "TX_DATETIME": np.datetime64(origin, "us") + seconds.astype("timedelta64[s]"),
            "CUSTOMER_ID": rng.integers(0, cards, rows),
            "TERMINAL_ID": terminal,
            "TX_AMOUNT": amount,
            "TX_TIME_SECONDS": seconds,
            "TX_TIME_DAYS": seconds // 86_400,
            "TX_FRAUD": fraud.astype(np.int64),
            "TX_FRAUD_SCENARIO": fraud.astype(np.int64),
        }
    )
    with duckdb.connect(":memory:") as connection:
        connection.from_arrow(table).create_view("made")
        connection.execute(f"COPY made TO {literal(str(path))} (FORMAT parquet)")
