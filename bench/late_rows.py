"""Events with their served vectors and the moment their label becomes known: the handbook's, and made-up ones.

The vectors are the fraud use case's, by the batch executor: what live gives for the same history. Labels that features
read (frauds at a merchant) are the feed's, as late as the feed is; what analysts find in a bench teaches the members
and not these features, or no two arms would score the same vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.handbook_features import connect
from features.batch import batch_vectors
from features.batch_frame import SOURCES, create_relations
from features.fraud import FRAUD
from stream.mapping_guess import shipped_mappings
from stream.played import Played
from stream.records import Transaction, from_micros, micros
from stream.simulator import Simulator
from stream.simulator_changes import AmountShift, Changes, Span
from stream.table import literal, quoted
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.replay import in_share, objects

FULL_WINDOW_DAYS = 30
"""Rows begin when the longest window of the features is full."""
LEARNED_DAYS = 28
"""So many days of rows are there to learn from when scoring begins."""
WEEKS, WEEK_DAYS = 9, 7
HANDBOOK_SHARE = 0.08
HANDBOOK_CARDS_A_DAY = 100
SIMULATED_FROM = datetime(2026, 1, 1, tzinfo=UTC)
SIMULATED_CUSTOMERS, SIMULATED_MERCHANTS = 350, 200
SIMULATED_CARDS_A_DAY = 7
NEW_PATTERN_WEEK, OLD_PATTERN_WEEK, AMOUNTS_WEEK = 2, 5, 6
"""Full weeks of scoring before a pattern begins, another ends, and amounts shift."""


@dataclass(frozen=True)
class LateRows:
    """Labelled events in the order of their times, and when each label is known.

    Scoring begins at `begins_us` and is judged up to `ends_us`, both the start of a day; all labels of that span are
    there. Analysts look at `cards_a_day`. `longest_delay_us` is after how long every label of an event is known.
    """

    name: str
    frame: TrainingFrame
    records: NDArray[Any]
    known_us: NDArray[np.int64]
    begins_us: int
    ends_us: int
    cards_a_day: int

    def __post_init__(self) -> None:
        times = self.frame.event_time_us
        if np.any(np.diff(times) < 0) or np.any(self.known_us < times):
            raise ValueError(
                f"the rows of {self.name} are not in the order of time, or a label is known before its event"
            )

    @property
    def longest_delay_us(self) -> int:
        """After how long every label of an event is known."""
        return int((self.known_us - self.frame.event_time_us).max())

    def between(self, since_us: int, until_us: int) -> slice:
        """Where the rows of `[since_us, until_us)` are."""
        first, last = np.searchsorted(self.frame.event_time_us, [since_us, until_us])
        return slice(int(first), int(last))

    @property
    def judged(self) -> slice:
        """Where the rows that are scored and judged are."""
        return self.between(self.begins_us, self.ends_us)


def handbook_rows(path: Path, share: float = HANDBOOK_SHARE) -> LateRows:
    """A share of the cards of the handbook's file; histories are of all of them. Every label is 7 days late."""
    mapping = shipped_mappings()["handbook"]
    with connect() as connection:
        sources = create_relations(connection, path, mapping)
        first_us, cards = _first_and_cards(connection)
        kept = [card for card in cards if in_share(card, share)]
        since_us = first_us - first_us % DAY_US + FULL_WINDOW_DAYS * DAY_US
        listed = ", ".join(map(literal, kept))
        points = f"r.card_id IN ({listed}) AND r.event_timestamp >= {since_us} AND r.fraud IS NOT NULL"
        columns, X = _vectors(connection, sources, points)
    times = columns["event_timestamp"].astype(np.int64)
    known = times + mapping.label_delay // timedelta(microseconds=1)
    return _late_rows("handbook", columns, X, known, since_us, round(HANDBOOK_CARDS_A_DAY * share))


def simulated_rows(seed: int = 11, customers: int = SIMULATED_CUSTOMERS) -> LateRows:
    """A world whose frauds change while it is scored; frauds are known after 1 to 10 days, the rest after 10."""
    begins = SIMULATED_FROM + timedelta(days=FULL_WINDOW_DAYS + LEARNED_DAYS + 10)
    changes = Changes(
        active={
            "account_takeover": Span(begins=begins + timedelta(weeks=NEW_PATTERN_WEEK)),
            "card_testing": Span(ends=begins + timedelta(weeks=OLD_PATTERN_WEEK)),
        },
        amounts=(AmountShift(begins + timedelta(weeks=AMOUNTS_WEEK), 1.5),),
    )
    end = begins + timedelta(weeks=WEEKS, days=10)
    played = list(
        Simulator(
            seed,
            start=SIMULATED_FROM,
            end=end,
            customers=customers,
            merchants=SIMULATED_MERCHANTS,
            changes=changes,
        ).play()
    )
    since_us = micros(SIMULATED_FROM) + FULL_WINDOW_DAYS * DAY_US
    with connect() as connection:
        _create_relations(connection, played)
        columns, X = _vectors(connection, dict(SOURCES), f"r.event_timestamp >= {since_us}")
    known = columns["labelled_at"].astype(np.int64)
    return _late_rows("simulator", columns, X, known, since_us, SIMULATED_CARDS_A_DAY)


def _late_rows(
    name: str, columns: dict[str, NDArray[Any]], X: NDArray[np.float64], known: NDArray[np.int64], since_us: int, k: int
) -> LateRows:
    times = columns["event_timestamp"].astype(np.int64)
    longest_us = int((known - times).max())
    begins_us = since_us + LEARNED_DAYS * DAY_US + longest_us
    names = ("event_id", "card_id", "merchant_id", "customer_id", "device_id", "amount", "currency")
    fields = [np.ma.filled(columns[one].astype(object), None).tolist() for one in names]
    records = [
        Transaction(
            event_id=event,
            event_timestamp=from_micros(at_us),
            card_id=card,
            merchant_id=merchant,
            amount=amount,
            currency=currency,
            customer_id=customer,
            device_id=device,
        )
        for at_us, event, card, merchant, customer, device, amount, currency in zip(
            times.tolist(), *fields, strict=True
        )
    ]
    frame = TrainingFrame(
        X=X,
        y=columns["fraud"].astype(np.int8),
        event_time_us=times,
        card=objects(fields[1]),
        feature_names=FRAUD.names,
        definition_hash=FRAUD.definition_hash,
    )
    return LateRows(name, frame, objects(records), known, begins_us, begins_us + WEEKS * WEEK_DAYS * DAY_US, k)


def _vectors(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, str], points: str
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
    """The columns of the transactions, and their vectors, in the order of arrival."""
    batch_vectors(connection, FRAUD, sources, points).create("vectors")
    places = [f"v.{quoted(name)} AS _{place}" for place, name in enumerate(FRAUD.names)]
    columns: dict[str, NDArray[Any]] = connection.execute(
        f"SELECT t.*, {', '.join(places)} FROM vectors AS v JOIN transactions AS t USING (sequence) ORDER BY sequence"
    ).fetchnumpy()
    values = [np.ma.filled(columns[f"_{place}"].astype(np.float64), np.nan) for place in range(len(FRAUD.names))]
    return columns, np.column_stack(values)


def _first_and_cards(connection: duckdb.DuckDBPyConnection) -> tuple[int, list[str]]:
    rows = connection.execute("SELECT min(event_timestamp), list(DISTINCT card_id) FROM transactions").fetchall()
    ((first_us, cards),) = rows
    return int(first_us), sorted(cards)


def _create_relations(connection: duckdb.DuckDBPyConnection, played: Sequence[Played]) -> None:
    fields = [name for name in Transaction.__struct_fields__ if name != "event_timestamp"]
    columns: dict[str, list[Any]] = {name: [getattr(one.transaction, name) for one in played] for name in fields}
    columns["event_timestamp"] = [micros(one.transaction.event_timestamp) for one in played]
    columns["labelled_at"] = [micros(one.known_at) for one in played]
    columns["fraud"] = [bool(one.fraud) for one in played]
    columns["sequence"] = list(range(len(played)))
    connection.from_arrow(pa.table(columns)).create("transactions")
    connection.execute(
        "CREATE TABLE labels AS SELECT event_id, CASE WHEN fraud THEN 'fraud' ELSE 'legit' END AS label, labelled_at,"
        " 'feed' AS source, event_timestamp, card_id, merchant_id, device_id, amount, sequence FROM transactions"
    )
