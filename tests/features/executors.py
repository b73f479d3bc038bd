"""The executors over one history, live and the oracle beside them, and how near they have to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import strategies as st

from features import aggregates as a
from features.batch import batch_sql, batch_vectors
from features.feature_set import Derived, FeatureSet, ViewRead
from features.history import History
from features.view import View
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
