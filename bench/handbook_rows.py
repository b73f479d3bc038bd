"""The handbook's transactions as rows: vectors by the batch executor, with day, customer and truth of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from bench.handbook_features import RAW, connect
from features.batch import batch_vectors
from features.batch_frame import SOURCES, create_relations
from features.feature_set import FeatureSet
from models.contract import Matrix
from stream.mapping_guess import shipped_mappings
from stream.table import literal, quoted
from training.metrics import DAY_US, Labels, days_of

VARIABLE = "HANDBOOK_DATA"
"""Of the environment: a Parquet file of the raw transactions, or a folder whose `raw_*.parquet` are taken together."""


EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Rows:
    """Labelled events in the order of their times, one vector each; all arrays have `n_rows` along their first axis.

    `day` counts from 1970; `X` has NaN for unknown.
    """

    X: Matrix
    names: tuple[str, ...]
    event_id: NDArray[Any]
    event_time_us: NDArray[np.int64]
    day: NDArray[np.int64]
    card: NDArray[Any]
    y: Labels

    def before(self, day: date) -> Rows:
        """The rows of earlier days than this."""
        end = int(np.searchsorted(self.day, (day - EPOCH).days))
        return Rows(
            X=self.X[:end],
            names=self.names,
            event_id=self.event_id[:end],
            event_time_us=self.event_time_us[:end],
            day=self.day[:end],
            card=self.card[:end],
            y=self.y[:end],
        )

    def vectors(self, places: NDArray[np.intp], names: tuple[str, ...]) -> Matrix:
        """The vectors of some rows with these features alone, in this order."""
        return self.X[places][:, [self.names.index(name) for name in names]]


def read_rows(connection: duckdb.DuckDBPyConnection, features: FeatureSet, since: date) -> Rows:
    """The vectors of all labelled events from a day on, of the relations that `relations` made."""
    since_us = (since - EPOCH).days * DAY_US
    batch_vectors(connection, features, SOURCES, f"r.event_timestamp >= {since_us}").create("read_vectors")
    names = ", ".join(f"v.{quoted(name)}" for name in features.names)
    columns = connection.execute(
        f"SELECT {names}, t.event_id AS _id, t.event_timestamp AS _at, t.card_id AS _card, t.fraud::TINYINT AS _fraud"
        " FROM read_vectors AS v JOIN transactions AS t USING (sequence) WHERE t.fraud IS NOT NULL ORDER BY sequence"
    ).fetchnumpy()
    connection.execute("DROP TABLE read_vectors")
    X = np.column_stack([np.ma.filled(columns[name].astype(np.float64), np.nan) for name in features.names])
    at_us = np.asarray(columns["_at"], dtype=np.int64)
    card, y = np.asarray(columns["_card"], dtype=object), np.asarray(columns["_fraud"], dtype=np.int8)
    return Rows(X, features.names, np.asarray(columns["_id"], dtype=object), at_us, days_of(at_us), card, y)


def source() -> Path:
    """Where the raw transactions are looked for."""
    return Path(os.environ[VARIABLE]) if VARIABLE in os.environ else RAW


@contextmanager
def relations(place: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that holds the transactions and labels of a file, or of all `raw_*.parquet` of a folder.

    Exits where there is none: the data have no licence to be shipped.
    """
    files = sorted(place.glob("raw_*.parquet")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise SystemExit(
            f"no raw transactions in {place}: they are made from github.com/Fraud-Detection-Handbook/simulated-data-raw"
            f" and not shipped; set {VARIABLE} to a Parquet file, or to a folder with files raw_*.parquet"
        )
    with connect() as connection, TemporaryDirectory(prefix="headrace-") as scratch:
        whole = files[0]
        if len(files) > 1:
            whole = Path(scratch) / "raw.parquet"
            several = ", ".join(literal(str(file)) for file in files)
            connection.execute(
                f"COPY (SELECT DISTINCT ON (TRANSACTION_ID) * FROM read_parquet([{several}]) ORDER BY TRANSACTION_ID)"
                f" TO {literal(str(whole))}"
            )
        create_relations(connection, whole, shipped_mappings()["handbook"])
        yield connection
