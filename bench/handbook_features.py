"""The Fraud Detection Handbook's fifteen features, declared here and held against its own published file.

The whole history is computed twice, by the live engine and by batch, and every published value is compared with both.
The files (see SOURCE.txt beside them) are not part of this repository.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Figures
from features.aggregates import count, mean
from features.batch import batch_vectors
from features.batch_frame import create_relations
from features.feature_set import Derived, FeatureSet, ViewRead
from features.fraud import FRAUD
from features.history import History
from features.view import View
from stream.dataset import read_transactions
from stream.label_feed import LabelFeed
from stream.mapping_guess import shipped_mappings
from stream.records import Label, Transaction
from stream.table import literal, quoted

FOLDER = Path(__file__).parents[1] / "../shared/data/fdh"
RAW = FOLDER / "raw_dev_2018-04-01_2018-08-14.parquet"
PUBLISHED = FOLDER / "oracle_features_2018-07-25_2018-08-14.parquet"
PUBLISHED_FROM = datetime(2018, 7, 25, tzinfo=UTC)
TOLERANCE = 1e-6
"""Relative: what differs by more is a mismatch."""
MEMORY_LIMIT = "4GB"
RUNS = 3

CUSTOMER = View(
    "customer",
    entity="card_id",
    source=Transaction,
    windows=("1d", "7d", "30d"),
    features=[count(), mean("amount")],
)
TERMINAL = View(
    "terminal",
    entity="merchant_id",
    source=Transaction,
    windows=("1d", "7d", "30d"),
    features=[count(delay="7d")],
)
TERMINAL_FRAUD = View(
    "terminal_fraud",
    entity="merchant_id",
    source=Label,
    where="label == 'fraud'",
    time="labelled_at",
    windows=("1d", "7d", "30d"),
    description="frauds known within the window: labels come 7 days after their event, so this is delayed as well",
    features=[count()],
)
HANDBOOK = FeatureSet(
    "handbook",
    source=Transaction,
    views=(CUSTOMER, TERMINAL, TERMINAL_FRAUD),
    derived=(
        Derived("amount", "amount", "the amount", "currency"),
        *(
            Derived(
                f"terminal_risk_{window}",
                f"coalesce(terminal_fraud_count_{window} / terminal_count_{window}_after_7d, 0)",
                "share of frauds among the terminal's events of that window, 7 days ago",
                "share",
            )
            for window in ("1d", "7d", "30d")
        ),
        Derived("weekend", "max(0, min(1, weekday(event_timestamp) - 4))", "1 on Saturday and Sunday"),
        Derived("night", "max(0, min(1, 7 - hour(event_timestamp)))", "1 until 6:59"),
    ),
)
CUSTOMER_COLUMNS = {
    "TX_AMOUNT": "amount",
    "TX_DURING_WEEKEND": "weekend",
    "TX_DURING_NIGHT": "night",
} | {
    f"CUSTOMER_ID_{published}_{days}DAY_WINDOW": f"customer_{ours}_{days}d"
    for days in (1, 7, 30)
    for published, ours in (("NB_TX", "count"), ("AVG_AMOUNT", "mean_amount"))
}
TERMINAL_COLUMNS = {
    f"TERMINAL_ID_{published}_{days}DAY_WINDOW": ours.format(days)
    for days in (1, 7, 30)
    for published, ours in (("NB_TX", "terminal_count_{}d_after_7d"), ("RISK", "terminal_risk_{}d"))
}
COLUMNS = CUSTOMER_COLUMNS | TERMINAL_COLUMNS
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """The vectors of the published transactions by id, in the order of `HANDBOOK.names`."""

    ids: NDArray[np.int64]
    values: Floats
    events: int
    took_s: float
    approximate: int
    """How many of the vectors were not exact."""

    @property
    def events_per_s(self) -> float:
        """Over the whole history, not only the published part."""
        return self.events / self.took_s


@dataclass(frozen=True)
class Comparison:
    """How many published values were compared, how many differ beyond `TOLERANCE`, and the largest difference.

    Apart from these: those that differ for payments of one card in one second. Nothing in the file says which of them
    came first; we take the order of their ids, the handbook's sort took either.
    """

    values: int
    mismatches: int
    largest: float
    at_ties: int
    tied_ids: list[int]
    """The payments that these values belong to."""


def live_vectors(raw: Path) -> Vectors:
    """Through the live engine: histories in memory, folded event by event; labels when they become known."""
    histories: dict[tuple[str, str], History] = {}
    feed = LabelFeed(limit=10_000_000)
    ids: list[int] = []
    values: list[Floats] = []
    approximate = events = 0

    def fold(record: Any) -> None:
        for view in HANDBOOK.views:
            if isinstance(record, view.source) and (row := view.row(record)) is not None:
                key = (view.name, getattr(record, view.entity))
                history = histories.get(key)
                if history is None:
                    history = histories[key] = History(view)
                history.fold(row)

    started = time.perf_counter()
    for one in read_transactions(raw, shipped_mappings()["handbook"]):
        record = one.transaction
        for label in feed.due(record.event_timestamp):
            fold(label)
        if record.event_timestamp >= PUBLISHED_FROM:
            reads = {
                view.name: ViewRead(histories.get((view.name, getattr(record, view.entity))) or History(view), [])
                for view in HANDBOOK.views
            }
            vector = HANDBOOK.vector(record, reads)
            ids.append(int(record.event_id))
            values.append(vector.values)
            approximate += bool(vector.approximate)
        fold(record)
        feed.add(one)
        events += 1
    took_s = time.perf_counter() - started
    return Vectors(np.array(ids), np.array(values), events, took_s, approximate)


def batch_events_per_s(connection: duckdb.DuckDBPyConnection, features: FeatureSet, sources: dict[str, str]) -> float:
    """Compute the vectors of the whole history into the table `vectors`, as a training set would keep them."""
    connection.execute("DROP TABLE IF EXISTS vectors")
    started = time.perf_counter()
    batch_vectors(connection, features, sources).create("vectors")
    took_s = time.perf_counter() - started
    ((events,),) = connection.execute("SELECT count(*) FROM vectors").fetchall()
    return int(events) / took_s


def batch_vectors_of(raw: Path) -> Vectors:
    """By the batch executor, over the whole history; the published part is taken from it."""
    with connect() as connection:
        sources = create_relations(connection, raw, shipped_mappings()["handbook"])
        rate = batch_events_per_s(connection, HANDBOOK, sources)
        return _published_part(connection, rate)


def compare(vectors: Vectors, published: Path, columns: dict[str, str], of: str, entities: Sequence[int]) -> Comparison:
    """Hold the vectors against the published columns, for the transactions whose column `of` is among the entities.

    All entities where none are named. Raises `ValueError` where a published transaction has no vector.
    """
    wanted = f"WHERE {quoted(of)} IN ({', '.join(map(str, entities))})" if entities else ""
    with duckdb.connect(":memory:") as connection:
        theirs = connection.execute(
            "SELECT *, count(*) OVER (PARTITION BY CUSTOMER_ID, TX_DATETIME) > 1 AS tied"
            f" FROM read_parquet({literal(str(published))}) {wanted} ORDER BY TRANSACTION_ID"
        ).fetchnumpy()
    order = np.argsort(vectors.ids)
    places = np.searchsorted(vectors.ids, theirs["TRANSACTION_ID"], sorter=order)
    rows = order[np.minimum(places, len(order) - 1)]
    if not np.array_equal(vectors.ids[rows], theirs["TRANSACTION_ID"]):
        raise ValueError(f"{published.name} has transactions without a vector; it does not belong to these records")
    tied = np.asarray(theirs["tied"], dtype=np.bool_)
    wrong_ties = np.zeros(len(rows), dtype=np.int64)
    mismatches, largest = 0, 0.0
    for column, name in columns.items():
        expected = np.asarray(theirs[column], dtype=np.float64)
        found = vectors.values[rows, HANDBOOK.names.index(name)]
        difference = np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)
        wrong = ~(difference <= TOLERANCE)
        wrong_ties += wrong & tied
        mismatches += int(np.count_nonzero(wrong & ~tied))
        largest = max(largest, float(np.nanmax(difference[~(wrong & tied)], initial=0.0)))
    tied_ids = [int(one) for one in theirs["TRANSACTION_ID"][wrong_ties > 0]]
    return Comparison(len(rows) * len(columns), mismatches, largest, int(wrong_ties.sum()), tied_ids)


def swap_ties(connection: duckdb.DuckDBPyConnection, ids: Sequence[int]) -> None:
    """Let the pairs of payments of one card in one second, to which the ids belong, come the other way round."""
    wanted = ", ".join(f"'{one}'" for one in ids)
    connection.execute(
        "CREATE OR REPLACE TABLE transactions AS WITH tied AS ("
        " SELECT card_id, event_timestamp, min(sequence) AS first, max(sequence) AS last FROM transactions"
        " GROUP BY card_id, event_timestamp"
        f" HAVING count(*) = 2 AND bool_or(event_id IN ({wanted})))"
        " SELECT t.* REPLACE (coalesce(tied.first + tied.last - t.sequence, t.sequence) AS sequence)"
        " FROM transactions AS t LEFT JOIN tied USING (card_id, event_timestamp)"
    )


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory on two threads."""
    connection = duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT, "threads": 2})
    connection.execute("SET enable_progress_bar = false")
    return connection


def measure() -> Figures:
    """All figures. Takes some minutes; stops at once where the files are absent."""
    for path in (RAW, PUBLISHED):
        if not path.is_file():
            raise SystemExit(f"no file {path}: it is made from github.com/Fraud-Detection-Handbook and not shipped")
    figures: Figures = {}
    with connect() as connection:
        started = time.perf_counter()
        sources = create_relations(connection, RAW, shipped_mappings()["handbook"])
        read_s = time.perf_counter() - started
        rates = [batch_events_per_s(connection, HANDBOOK, sources) for _ in range(RUNS)]
        batch = _published_part(connection, float(np.median(rates)))
        by_batch = compare(batch, PUBLISHED, COLUMNS, "CUSTOMER_ID", ())
        if by_batch.tied_ids:
            swap_ties(connection, by_batch.tied_ids)
            batch_events_per_s(connection, HANDBOOK, sources)
            swapped = compare(_published_part(connection, 1.0), PUBLISHED, COLUMNS, "CUSTOMER_ID", ())
            note = f"after swapping the payments {by_batch.tied_ids}, of one card in one second"
            figures["batch, mismatches with ties swapped"] = Figure(
                swapped.mismatches + swapped.at_ties, "values", 0.0, "lower", note
            )
        fraud_rate = batch_events_per_s(connection, FRAUD, sources)
    note = f"median of {RUNS} runs, {min(rates):,.0f} to {max(rates):,.0f}; {batch.events:,} events"
    figures["batch, 15 features"] = Figure(float(np.median(rates)), "events/s", 200_000.0, "higher", note)
    note = f"{len(FRAUD.names)} features, one run"
    figures["batch, the fraud set"] = Figure(fraud_rate, "events/s", 200_000.0, "higher", note)
    figures["batch, reading the file"] = Figure(batch.events / read_s, "events/s", None, "higher", "once")
    live = live_vectors(RAW)
    by_live = compare(live, PUBLISHED, COLUMNS, "CUSTOMER_ID", ())
    note = f"in memory, one process; {len(live.ids):,} vectors read on the way"
    figures["live, 15 features"] = Figure(live.events_per_s, "events/s", None, "higher", note)
    figures["live, vectors not exact"] = Figure(live.approximate, "vectors", 0.0, "lower")
    unlike = ~np.isclose(live.values[np.argsort(live.ids)], batch.values[np.argsort(batch.ids)], 1e-9, 1e-9, True)
    note = f"of {unlike.size:,} values, beyond 1e-9"
    figures["live against batch, mismatches"] = Figure(int(unlike.sum()), "values", 0.0, "lower", note)
    for name, found in (("batch", by_batch), ("live", by_live)):
        figures[f"{name}, published values compared"] = Figure(found.values, "values", None, "higher")
        note = f"beyond {TOLERANCE:g}; {found.at_ties} more at payments of one card in one second: order not given"
        figures[f"{name}, mismatches"] = Figure(found.mismatches, "values", 0.0, "lower", note)
        figures[f"{name}, largest difference"] = Figure(found.largest, "relative", TOLERANCE, "lower")
    return figures


def _published_part(connection: duckdb.DuckDBPyConnection, events_per_s: float) -> Vectors:
    ((events,),) = connection.execute("SELECT count(*) FROM vectors").fetchall()
    names = ", ".join(quoted(name) for name in HANDBOOK.names)
    since_us = int(PUBLISHED_FROM.timestamp() * 1e6)
    rows = connection.execute(
        f"SELECT event_id::BIGINT AS _id, {names} FROM vectors WHERE event_timestamp >= {since_us}"
    ).fetchnumpy()
    values = np.column_stack([np.ma.filled(rows[name], np.nan) for name in HANDBOOK.names])
    return Vectors(rows["_id"], values, int(events), int(events) / events_per_s, 0)
