"""What the batch executor does in a second: the handbook's features and the fraud set, over made-up history.

The simulator's history is the same on every machine. Where the handbook's file lies beside the project, it is measured
too: it has more cards, and neither devices nor places.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from bench.figures import Figure, Figures, medians
from bench.handbook_features import HANDBOOK, RAW, batch_events_per_s, connect
from features.batch import batch_sql
from features.batch_frame import SOURCES, create_relations
from features.fraud import FRAUD
from stream.mapping_guess import shipped_mappings
from stream.records import Transaction, micros
from stream.simulator import Simulator

RUNS = 3
DAYS = 90
START = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = 200_000.0


def measure(days: int = DAYS, *, with_file: bool = True) -> Figures:
    """Events per second, medians of `RUNS`. Takes about two minutes."""
    with connect() as connection:
        sources = simulate(connection, days)
        runs = [_compiled(connection, sources, "simulated") | _in_sql(connection, sources) for _ in range(RUNS)]
    figures = medians(runs)
    if with_file and RAW.is_file():
        with connect() as connection:
            sources = create_relations(connection, RAW, shipped_mappings()["handbook"])
            figures |= medians([_compiled(connection, sources, "the handbook's file") for _ in range(RUNS)])
    return figures


def simulate(connection: duckdb.DuckDBPyConnection, days: int) -> dict[str, str]:
    """Create the tables `transactions` and `labels` of so many simulated days: the sources of a batch."""
    played = list(Simulator(7, start=START, end=START + timedelta(days=days)).play())
    columns = {
        name: [getattr(one.transaction, name) for one in played]
        for name in Transaction.__struct_fields__
        if name != "event_timestamp"
    }
    columns["event_timestamp"] = [micros(one.transaction.event_timestamp) for one in played]
    columns["labelled_at"] = [micros(one.known_at) for one in played]
    columns["label"] = ["fraud" if one.fraud else "legit" for one in played]
    columns["sequence"] = list(range(len(played)))
    connection.from_arrow(pa.table(columns)).create("transactions")
    connection.execute(
        "CREATE TABLE labels AS SELECT event_id, label, labelled_at, 'feed' AS source, event_timestamp, card_id,"
        " merchant_id, device_id, amount, sequence FROM transactions"
    )
    return dict(SOURCES)


def _compiled(connection: duckdb.DuckDBPyConnection, sources: dict[str, str], which: str) -> Figures:
    return {
        f"batch, {features.name}, {which}": Figure(
            batch_events_per_s(connection, features, sources),
            "events/s",
            BUDGET,
            "higher",
            f"{len(features.names)} features, windows by compiled loops",
        )
        for features in (HANDBOOK, FRAUD)
    }


def _in_sql(connection: duckdb.DuckDBPyConnection, sources: dict[str, str]) -> Figures:
    figures: Figures = {}
    for features in (HANDBOOK, FRAUD):
        started = time.perf_counter()
        connection.execute(f"CREATE OR REPLACE TABLE vectors AS {batch_sql(features, sources)}")
        took_s = time.perf_counter() - started
        ((events,),) = connection.execute("SELECT count(*) FROM vectors").fetchall()
        note = f"{len(features.names)} features, windows by DuckDB, of any size"
        figures[f"batch, {features.name}, one query"] = Figure(int(events) / took_s, "events/s", None, "higher", note)
    return figures
