"""Batch equals live equals the oracle, for every kind of aggregate, with ties, nulls, gaps and bursts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import aggregates as a
from features.batch import batch_sql, batch_vectors
from features.batch_frame import UncheckedRows, create_relations
from features.batch_sql import TIE_LIMIT
from features.feature_set import Derived, FeatureSet, ViewRead
from features.fraud import FRAUD
from features.history import History
from features.view import View
from stream.mapping import mapping_from
from stream.records import Label, Transaction, from_micros, micros
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, everything, payment, read

NORTH = View(
    "north",
    entity="merchant_id",
    source=Transaction,
    windows=("10s", "1h"),
    where="latitude > 0",
    features=[
        a.count(),
        a.sum("amount"),
        a.mean("amount"),
        a.std("amount"),
        a.min("amount"),
        a.last("amount"),
        a.previous("amount"),
        a.distinct("device_id"),
        a.share("amount < 5", name="small_share"),
        a.since_first(),
        a.since_last(),
        a.decayed_sum("amount", "1s"),
        a.count(delay="1m"),
    ],
)
KNOWN = View(
    "known",
    entity="merchant_id",
    source=Label,
    time="labelled_at",
    windows=("1m", "2d"),
    features=[
        a.count(),
        a.count(where="label == 'fraud'", name="fraud_count"),
        a.sum("amount"),
        a.mean("amount"),
        a.std("amount"),
        a.max("amount"),
        a.last("amount"),
        a.previous("amount"),
        a.distinct("card_id"),
        a.since_first(),
        a.since_last(),
        a.decayed_count("1h"),
        a.decayed_sum("amount", "10s"),
        a.distinct("card_id", delay="1m"),
    ],
)
EVERYTHING = FeatureSet(
    "everything",
    source=Transaction,
    views=(everything(), everything("device", "device_id"), NORTH, KNOWN),
    derived=(
        Derived("amount", "amount * 2", ""),
        Derived("deviation", "(amount - card_mean_amount_1h) / card_std_amount_1h", ""),
        Derived("hour_and_deviation", "hour(event_timestamp) + coalesce(deviation, 0)", ""),
        Derived("twice", "amount + weekday(event_timestamp)", ""),
    ),
)
SOURCES = {"transactions": "transactions", "labels": "labels"}
NUMBERS = {"amount", "latitude", "longitude"}
TIMES = {"event_timestamp", "labelled_at"}
DEVIATIONS = {"deviation", "hour_and_deviation", "amount_deviation_30d"}
GAPS_US = (0, 0, 0, 1, SECOND, 10 * SECOND - 1, 10 * SECOND, MINUTE, MINUTE + 1, 20 * MINUTE, HOUR, 2 * DAY, 40 * DAY)
AMOUNTS = st.one_of(
    st.sampled_from([0.0, 0.01, 4.99, 5.0, 9.99]),
    st.floats(1e-3, 1e9),
    st.integers(0, 9).map(lambda n: 1e9 + n / 1000),
    st.integers(-3, 9).map(lambda n: 10.0**n),
)
STEPS = st.tuples(
    st.sampled_from(GAPS_US),
    AMOUNTS,
    st.one_of(st.none(), st.floats(-90, 90, allow_subnormal=False), st.just(52.5)),
    st.sampled_from([None, "d1", "d2"]),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["c1", "c2"]),
    st.sampled_from([None, 0, 1, MINUTE, HOUR, 7 * DAY]),
)
Executor = Callable[..., duckdb.DuckDBPyRelation]
Step = tuple[int, float, float | None, str | None, str, str, int | None]


def history(steps: Sequence[Step]) -> tuple[list[Transaction], list[Label]]:
    """Payments in time order, and labels in the order in which they become known."""
    at_us, payments, labels = T0_US, [], []
    for number, (gap_us, amount, latitude, device, merchant, card, delay_us) in enumerate(steps):
        at_us += gap_us
        one = payment(
            number, at_us, amount=amount, latitude=latitude, device_id=device, merchant_id=merchant, card_id=card
        )
        payments.append(one)
        if delay_us is not None:
            labels.append(
                Label(
                    event_id=one.event_id,
                    label="fraud" if number % 3 else "legit",
                    labelled_at=from_micros(at_us + delay_us),
                    event_timestamp=one.event_timestamp,
                    merchant_id=merchant if number % 5 else None,
                    card_id=card,
                    amount=amount if number % 4 else None,
                )
            )
    return payments, sorted(labels, key=lambda label: label.labelled_at)


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    for source in (Transaction, Label):
        columns = [f"{name} {_sql_type(name)}" for name in source.__struct_fields__]
        connection.execute(f"CREATE TABLE {source.topic} ({', '.join(columns)}, sequence BIGINT)")
    return connection


def _sql_type(field: str) -> str:
    return "BIGINT" if field in TIMES else "DOUBLE" if field in NUMBERS else "VARCHAR"


def fill(connection: duckdb.DuckDBPyConnection, records: Sequence[Any], source: type[Any]) -> None:
    connection.execute(f"DELETE FROM {source.topic}")
    cells = [[getattr(record, name) for name in source.__struct_fields__] for record in records]
    rows = [
        [*(micros(cell) if isinstance(cell, datetime) else cell for cell in row), number]
        for number, row in enumerate(cells)
    ]
    # Put in from the last to the first: the answer must not lean on the order of the rows.
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {source.topic} VALUES ({marks})", rows[::-1])


def in_sql(
    connection: duckdb.DuckDBPyConnection, features: FeatureSet, sources: dict[str, str], points: str = "TRUE"
) -> duckdb.DuckDBPyRelation:
    return connection.sql(batch_sql(features, sources, points))


EXECUTORS: tuple[Executor, ...] = (batch_vectors, in_sql)


def batch(
    connection: duckdb.DuckDBPyConnection,
    features: FeatureSet,
    payments: list[Transaction],
    labels: list[Label],
    executor: Executor = batch_vectors,
) -> list[list[float]]:
    fill(connection, payments, Transaction)
    fill(connection, labels, Label)
    relation = executor(connection, features, SOURCES).order("sequence")
    assert relation.columns == ["event_id", "event_timestamp", "sequence", *features.names]
    rows = relation.fetchall()
    assert [row[0] for row in rows] == [one.event_id for one in payments]
    return [[float("nan") if cell is None else cell for cell in row[3:]] for row in rows]


def live(features: FeatureSet, payments: list[Transaction], labels: list[Label]) -> Iterator[list[float]]:
    """Score each payment, then fold it; labels are folded before the first payment at or after their time."""
    histories: dict[tuple[str, str], History] = {}

    def fold(record: Any) -> None:
        for view in features.views:
            if isinstance(record, view.source) and (row := view.row(record)) is not None:
                key = (view.name, getattr(record, view.entity))
                histories.setdefault(key, History(view)).fold(row)

    waiting = list(labels)
    for one in payments:
        while waiting and waiting[0].labelled_at <= one.event_timestamp:
            fold(waiting.pop(0))
        reads = {
            view.name: ViewRead(histories.get((view.name, value)) or History(view), [])
            for view in features.views
            if (value := getattr(one, view.entity)) is not None
        }
        vector = features.vector(one, reads)
        assert vector.approximate == []
        yield vector.values.tolist()
        fold(one)


class AsKnown:
    """A label as the oracle reads it: at the time at which it became known."""

    def __init__(self, label: Label) -> None:
        self.event_timestamp = label.labelled_at
        self.label, self.amount, self.card_id = label.label, label.amount, label.card_id


def expected(
    features: FeatureSet, payments: list[Transaction], labels: list[Label], position: int
) -> list[float | None]:
    """What the oracle says of the views' features of one payment."""
    one = payments[position]
    found: list[float | None] = []
    for view in features.views:
        value = getattr(one, view.entity)
        if value is None:
            found += [None] * len(view.names)
            continue
        if view.source is Label:
            wanted = [label for label in labels if view.where is None or label.label == "fraud"]
            known = [AsKnown(label) for label in wanted if getattr(label, view.entity) == value]
            found += read(view, known, micros(one.event_timestamp))
            continue
        counts = [e for e in payments if view.where is None or (e.latitude is not None and e.latitude > 0)]
        before = [e for e in counts if getattr(e, view.entity) == value and int(e.event_id[1:]) < position]
        found += read(view, before, micros(one.event_timestamp), one if one in counts else None)
    return found


def _normal(vector: list[float]) -> list[float]:
    """Below the smallest normal double, a decayed sum has no nine digits."""
    return [0.0 if abs(value) < 1e-300 else value for value in vector]


def check(connection: duckdb.DuckDBPyConnection, features: FeatureSet, steps: Sequence[Step]) -> None:
    payments, labels = history(steps)
    lived = [_normal(vector) for vector in live(features, payments, labels)]
    oracle = [expected(features, payments, labels, position) for position in range(len(payments))]
    for executor in EXECUTORS:
        found = [_normal(vector) for vector in batch(connection, features, payments, labels, executor)]
        compare(features, found, lived, oracle)


def compare(
    features: FeatureSet, found: list[list[float]], lived: list[list[float]], oracle: list[list[float | None]]
) -> None:
    names = [name for view in features.views for name in view.names]
    derived = set(features.names) - set(names)
    size = 90.0 * len(found)
    for one, other, known in zip(found, lived, oracle, strict=True):
        truth = [0.0 if value is not None and abs(value) < 1e-300 else value for value in known]
        assert differences(names, one[: len(names)], truth, size=size) == {}
        theirs = [None if value != value else value for value in other]  # noqa: PLR0124
        assert differences(features.names[: len(names)], one[: len(names)], theirs[: len(names)], size=size) == {}
        for name, ours, value in zip(features.names, one, theirs, strict=True):
            assert (value is None) == (ours != ours), name  # noqa: PLR0124
            # Divided by a deviation that is small beside the mean, the last digits of the mean are all there is.
            if value is not None and name in derived and name not in DEVIATIONS:
                assert ours == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as one:
        yield one


@settings(max_examples=12, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_batch_equals_live_and_the_oracle_for_every_aggregate(
    connection: duckdb.DuckDBPyConnection, steps: list[Step]
) -> None:
    check(connection, EVERYTHING, steps)


@settings(max_examples=15, deadline=None)
@given(st.lists(STEPS, max_size=20))
def test_batch_equals_live_and_the_oracle_for_fraud(connection: duckdb.DuckDBPyConnection, steps: list[Step]) -> None:
    check(connection, FRAUD, steps)


@pytest.mark.parametrize("spread_us", [0, 1, SECOND, 10 * MINUTE])
@pytest.mark.parametrize("features", [EVERYTHING, FRAUD], ids=lambda features: features.name)
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
