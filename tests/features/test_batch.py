"""Batch equals live equals the oracle, for every kind of aggregate, with ties, nulls, gaps and bursts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import aggregates as a
from features.batch import batch_vectors
from features.batch_frame import UncheckedRows, create_relations
from features.batch_sql import TIE_LIMIT
from features.feature_set import FeatureSet
from features.fraud import FRAUD
from features.view import View
from stream.mapping import mapping_from
from stream.records import Label, Transaction, micros
from tests.features.executors import (
    EVERYTHING,
    EXECUTORS,
    GAPS_US,
    SOURCES,
    STEPS,
    Executor,
    Step,
    batch,
    check,
    connect,
    fill,
    in_sql,
)
from tests.oracle import DAY, MINUTE, SECOND, T0_US, payment


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as one:
        yield one


@settings(max_examples=5, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_batch_equals_live_and_the_oracle_for_every_aggregate(
    connection: duckdb.DuckDBPyConnection, steps: list[Step]
) -> None:
    check(connection, EVERYTHING, steps)


@settings(max_examples=5, deadline=None)
@given(st.lists(STEPS, max_size=20))
def test_batch_equals_live_and_the_oracle_for_fraud(connection: duckdb.DuckDBPyConnection, steps: list[Step]) -> None:
    check(connection, FRAUD, steps)


@pytest.mark.parametrize(
    ("features", "spread_us"),
    [
        (EVERYTHING, 1),
        (FRAUD, 10 * MINUTE),
        *(pytest.param(EVERYTHING, us, marks=pytest.mark.thorough) for us in (0, SECOND, 10 * MINUTE)),
        *(pytest.param(FRAUD, us, marks=pytest.mark.thorough) for us in (0, 1, SECOND)),
    ],
    ids=lambda of: of.name if isinstance(of, FeatureSet) else str(of),
)
def test_two_hundred_events_in_bursts_agree(
    connection: duckdb.DuckDBPyConnection, features: FeatureSet, spread_us: int
) -> None:
    random = Random(spread_us)
    steps: list[Step] = [
        (
            random.randint(0, spread_us) if random.random() < 0.95 else random.choice(GAPS_US[:-1]),
            random.choice([10 ** random.uniform(-3, 9), 1e9 + random.random(), 9.99]),
            random.choice([None, random.uniform(-90, 90), 52.5 + random.random() * 1e-9]),
            random.choice([None, "d1", f"d{random.randint(1, 30)}"]),
            random.choice(["m1", "m1", f"m{random.randint(1, 9)}"]),
            random.choice(["c1", "c2"]),
            random.choice([None, 0, MINUTE, DAY]),
        )
        for _ in range(200)
    ]
    check(connection, features, steps)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("features", [EVERYTHING, FRAUD], ids=lambda features: features.name)
def test_no_records_give_no_vectors(
    connection: duckdb.DuckDBPyConnection, features: FeatureSet, executor: Executor
) -> None:
    assert batch(connection, features, [], [], executor) == []


@pytest.mark.parametrize("features", [EVERYTHING, FRAUD], ids=lambda features: features.name)
def test_one_record_gives_one_vector(connection: duckdb.DuckDBPyConnection, features: FeatureSet) -> None:
    check(connection, features, [(0, 12.5, None, None, "m1", "c1", None)])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_record_does_not_see_those_of_its_microsecond_that_come_after_it(
    connection: duckdb.DuckDBPyConnection, executor: Executor
) -> None:
    payments = [payment(number, T0_US, amount=1.0) for number in range(3)]
    vectors = batch(connection, FRAUD, payments, [], executor)
    position = FRAUD.names.index("card_count_10m")
    assert [vector[position] for vector in vectors] == [1.0, 2.0, 3.0]


def test_more_ties_than_the_keys_of_sql_hold_are_refused_by_it_alone(connection: duckdb.DuckDBPyConnection) -> None:
    fill(connection, [], Label)
    connection.execute("DELETE FROM transactions")
    connection.execute(
        "INSERT INTO transactions BY NAME SELECT 'e' || i AS event_id, 0 AS event_timestamp, 'c' AS card_id,"
        f" 'm' AS merchant_id, 1.0 AS amount, i AS sequence FROM range({TIE_LIMIT + 1}) AS t(i)"
    )
    with pytest.raises(duckdb.Error, match="records of one entity of view card share a microsecond"):
        in_sql(connection, FRAUD, SOURCES).fetchall()
    (most,) = batch_vectors(connection, FRAUD, SOURCES).aggregate("max(card_count_10m)").fetchall()
    assert most == (TIE_LIMIT + 1,)


def test_values_near_each_other_and_far_from_the_rest_keep_their_deviation(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    amounts = [5.0] * 30 + [1e9 + n / 1000 for n in range(10)]
    steps: list[Step] = [(SECOND, amount, None, None, "m1", "c1", None) for amount in amounts]
    check(connection, EVERYTHING, steps)


def test_a_half_life_that_is_short_beside_the_history_does_not_overflow(connection: duckdb.DuckDBPyConnection) -> None:
    steps: list[Step] = [(day * DAY, 1e9, None, "d1", "m1", "c1", None) for day in (0, 1, 400, 400, 0)]
    check(connection, EVERYTHING, steps)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_points_limits_what_is_answered_and_not_what_is_counted(
    connection: duckdb.DuckDBPyConnection, executor: Executor
) -> None:
    payments = [payment(number, T0_US + number) for number in range(5)]
    fill(connection, payments, Transaction)
    fill(connection, [], Label)
    rows = executor(connection, FRAUD, SOURCES, f"r.event_timestamp > {T0_US + 2}").order("sequence")
    assert rows.project("event_id, card_count_1h, merchant_risk_1d").fetchall() == [
        ("e3", 4.0, None),
        ("e4", 5.0, None),
    ]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_missing_relation_is_named(connection: duckdb.DuckDBPyConnection, executor: Executor) -> None:
    with pytest.raises(ValueError, match="reads 'labels'"):
        executor(connection, FRAUD, {"transactions": "transactions"})


def test_a_view_of_the_scored_records_by_another_time_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    view = View("known", entity="card_id", source=Label, time="labelled_at", windows=("1h",), features=[a.count()])
    by_labels = FeatureSet("by_labels", source=Label, views=(view,), derived=())
    for executor in EXECUTORS:
        with pytest.raises(ValueError, match="not 'labelled_at'"):
            executor(connection, by_labels, SOURCES)


def test_a_mapped_file_becomes_relations(tmp_path: Path) -> None:
    table = tmp_path / "payments.csv"
    table.write_text(
        "at,card,shop,sum,bad\n2026-03-02 12:00:00,c1,m1,2.5,1\n2026-03-01 12:00:00,c1,m1,1.5,0\n"
        "2026-03-20 12:00:00,c1,m1,3.5,\n"
    )
    fields: dict[str, Any] = {
        "event_timestamp": {"column": "at", "zone": "UTC"},
        "card_id": {"column": "card"},
        "merchant_id": {"column": "shop"},
        "amount": {"column": "sum"},
        "label": {"column": "bad", "fraud": [1], "delay": "7d"},
    }
    mapping = mapping_from(fields)
    with duckdb.connect(":memory:") as database:
        sources = create_relations(database, table, mapping)
        rows = batch_vectors(database, FRAUD, sources).order("sequence")
        assert rows.project("event_id, amount, card_count_7d, device_count_1h").fetchall() == [
            ("row-2", 1.5, 1.0, None),
            ("row-1", 2.5, 2.0, None),
            ("row-3", 3.5, 1.0, None),
        ]
        assert rows.project("merchant_fraud_count_30d").fetchall() == [(0.0,), (0.0,), (1.0,)]
        known = database.execute("SELECT label, labelled_at FROM labels ORDER BY sequence").fetchall()
    due = datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert known == [("legit", micros(due)), ("fraud", micros(due + timedelta(days=1)))]


def test_a_file_with_rows_that_may_be_invalid_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "payments.csv"
    table.write_text("at,card,shop,sum\n2026-03-02 12:00:00,c1,m1,-2.5\n")
    columns = {"event_timestamp": "at", "card_id": "card", "merchant_id": "shop", "amount": "sum"}
    mapping = mapping_from({field: {"column": column} for field, column in columns.items()})
    with duckdb.connect(":memory:") as database, pytest.raises(UncheckedRows, match="row 1"):
        create_relations(database, table, mapping)
