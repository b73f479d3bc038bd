"""Our way to the online store against Feast's own: the same rows read to the same values, and the same rows written."""

from __future__ import annotations

import math
import time
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from bench.feature_load import STEP_US, T0_US, payments
from bench.figures import Figure, Figures
from features.feature_set import EntityRef
from features.fraud import CARD, FRAUD
from features.history import History
from features.online_store import RedisOnlineStore, Replacement
from features.worker import Folder
from stream.log import Entry, Partition
from stream.records import encode, from_micros

READ_EVENTS = 6000
READ_CARDS = 150
READ_MERCHANTS = 40
FOLD_BATCH = 500
ROWS_A_CALL = 100
BUDGET_RATIO = 10.0


def fill(store: RedisOnlineStore, events: int = READ_EVENTS) -> None:
    """Fold payments into the store until cards have some dozens of rows, and merchants some hundred."""
    folder = Folder(store, FRAUD.views, "bench")
    records = payments(events, seed=2, cards=READ_CARDS, merchants=READ_MERCHANTS)
    entries = [Entry(number, record.card_id, encode(record)) for number, record in enumerate(records)]
    for at in range(0, len(entries), FOLD_BATCH):
        folder.fold({Partition("transactions", 0): entries[at : at + FOLD_BATCH]})


def read_features(store: RedisOnlineStore, rows: list[dict[str, Any]]) -> list[list[float]]:
    """Our reader: the entities' hashes from Redis in one round trip, then every stored feature of the fraud service."""
    refs = [EntityRef(entity, row[entity]) for row in rows for entity in FRAUD.entities]
    stored = iter(store.read(refs))
    answers = []
    for row in rows:
        entities = {entity: next(stored) for entity in FRAUD.entities}
        histories = {
            view.name: History.decode(view, entities[view.entity].states.get(view.name)) for view in FRAUD.views
        }
        answers.append(FRAUD.read_all_at(histories, row["at_us"]).tolist())
    return answers


def reading(store: RedisOnlineStore, feast: Any, calls: int, events: int = READ_EVENTS) -> Figures:
    """Read random keys by both, in turn, and check that they answer the same. `events` is how many were filled in."""
    random = Random(3)
    service = feast.get_feature_service(f"{FRAUD.name}_v1")
    names = [name for view in FRAUD.views for name in view.names]
    filled = f"a card has some {events // READ_CARDS} rows, a merchant {events // READ_MERCHANTS}"
    figures: Figures = {}
    for size, repeats in ((1, calls), (ROWS_A_CALL, max(3, calls // 20))):
        ours_us, feast_us = [], []
        for number in range(repeats + 1):
            rows = [_random_row(random) for _ in range(size)]
            started = time.perf_counter()
            ours = read_features(store, rows)
            between = time.perf_counter()
            theirs = feast.get_online_features(features=service, entity_rows=rows).to_dict()
            ended = time.perf_counter()
            _assert_same(rows, names, ours, theirs)
            if number:  # The first is the warm-up.
                ours_us.append((between - started) * 1e6)
                feast_us.append((ended - between) * 1e6)
        what = f"{len(names)} features of {size} random card, merchant and device in a call; {filled}; {repeats} calls"
        a_call = "1 row" if size == 1 else f"{size} rows"
        ours_p50, feast_p50 = float(np.median(ours_us)), float(np.median(feast_us))
        budget = BUDGET_RATIO if size == 1 else None
        figures |= {
            f"read {a_call}, ours, p50": Figure(ours_p50, "us", None, "lower", f"Redis and reading: {what}"),
            f"read {a_call}, Feast's SDK, p50": Figure(
                feast_p50,
                "us",
                None,
                "lower",
                "get_online_features(...).to_dict() for the same rows; the same values, checked",
            ),
            f"read {a_call}, Feast's SDK over ours": Figure(
                feast_p50 / ours_p50, "times", budget, "higher", "the one p50 over the other"
            ),
        }
    return figures


def writing(store: RedisOnlineStore, feast: Any, rows: int, run: int, repeats: int = 3) -> Figures:
    """Write the same states by our compare-and-set and by Feast's `write_to_online_store`, of cards of their own."""
    histories = _card_states(rows)
    ours_s, feast_s = [], []
    for number in range(repeats + 1):
        at_us = T0_US + (READ_EVENTS + number) * STEP_US
        cards = [f"ours-{run}-{number}-{i}" for i in range(rows)]
        started = time.perf_counter()
        written = store.replace(
            [
                Replacement(EntityRef("card_id", card), {CARD.name: None}, {CARD.name: state}, at_us)
                for card, state in zip(cards, histories, strict=True)
            ]
        )
        ours = time.perf_counter() - started
        if not all(written):
            raise RuntimeError("a write of ours was refused")
        times = pd.Series([from_micros(at_us)] * rows)
        others = [card.replace("ours", "feast") for card in cards]
        frame = pd.DataFrame({"card_id": others, CARD.state_view: histories, "event_timestamp": times})
        started = time.perf_counter()
        feast.write_to_online_store(CARD.state_view, frame)
        theirs = time.perf_counter() - started
        if number:  # The first is the warm-up.
            ours_s.append(ours)
            feast_s.append(theirs)
    what = f"{rows} card states of {len(histories[0]):,} bytes in a call, one view"
    ours_rate, feast_rate = rows / float(np.median(ours_s)), rows / float(np.median(feast_s))
    not_same = "it compares times, not contents; store.push ends in the same write and costs more before"
    return {
        "write, ours": Figure(ours_rate, "rows/s", None, "higher", f"compare-and-set: {what}"),
        "write, Feast's SDK": Figure(
            feast_rate, "rows/s", None, "higher", f"write_to_online_store: {what}; not the same: {not_same}"
        ),
        "write, ours over Feast's SDK": Figure(ours_rate / feast_rate, "times", None, "higher", what),
    }


def _card_states(count: int) -> list[bytes]:
    history = History(CARD)
    rows = (CARD.row(one) for one in payments(50, seed=4, cards=1))
    history.fold_all([row for row in rows if row is not None])
    return [history.encode()] * count


def _random_row(random: Random) -> dict[str, Any]:
    return {
        "card_id": f"c{random.randrange(READ_CARDS)}",
        "merchant_id": f"m{random.randrange(READ_MERCHANTS)}",
        "device_id": f"d{random.randrange(READ_CARDS)}",
        "at_us": T0_US + (READ_EVENTS + random.randrange(3600)) * STEP_US,
    }


def _assert_same(rows: list[dict[str, Any]], names: list[str], ours: list[list[float]], theirs: Any) -> None:
    for number, values in enumerate(ours):
        for name, value in zip(names, values, strict=True):
            other = theirs[name][number]
            other = math.nan if other is None else other
            if value != other and not (math.isnan(value) and math.isnan(other)):
                raise RuntimeError(f"{name} of {rows[number]}: ours is {value}, Feast's is {other}")
