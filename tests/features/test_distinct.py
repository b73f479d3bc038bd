"""The count of different members: exact while few, within the stated error beyond, over any window."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from features.aggregates import count, distinct
from features.distinct import RELATIVE_ERROR, SKETCH, keep, member_key
from features.history import History
from features.scan import Scan
from features.view import MEMBER_LIMIT, View, member_hash
from stream.records import Transaction
from tests.oracle import DAY, HOUR, MINUTE, T0_US, payment

SECOND = 1_000_000
SHOP = View(
    "shop",
    entity="merchant_id",
    source=Transaction,
    windows=("1m", "10m", "1h", "1d"),
    features=[count(), distinct("card_id")],
    description="a merchant",
)


def history_of(cards: list[str], step_us: int, batch: int = 250) -> History:
    history = History(SHOP)
    for start in range(0, len(cards), batch):
        rows = [
            SHOP.row(payment(n, T0_US + n * step_us, card_id=cards[n], merchant_id="m"))
            for n in range(start, min(start + batch, len(cards)))
        ]
        history.fold_all([row for row in rows if row is not None])
    return history


def found(history: History, at_us: int) -> dict[str, float]:
    values, _ = Scan(SHOP).read(history, at_us)
    return dict(zip(SHOP.names, values.tolist(), strict=True))


@pytest.mark.parametrize("members", [pytest.param(1000, marks=pytest.mark.thorough), 5000, 40_000])
def test_many_members_are_counted_within_the_error_in_every_window(members: int) -> None:
    errors = []
    for seed in range(6):
        random = Random(seed)
        cards = [f"{seed}-{random.randrange(members)}" for _ in range(20_000)]
        history = history_of(cards, SECOND // 5)
        now_us = T0_US + (len(cards) - 1) * SECOND // 5
        values = found(history, now_us)
        for window, length_us in (("1m", MINUTE), ("10m", 10 * MINUTE), ("1h", HOUR), ("1d", DAY)):
            inside = cards[max(0, len(cards) - length_us * 5 // SECOND) :]
            exact = len(set(inside))
            errors.append(values[f"shop_distinct_card_id_{window}"] / exact - 1)
            assert abs(errors[-1]) <= 4 * RELATIVE_ERROR, (seed, window, exact)
        assert len(history.members) <= 16 * (MEMBER_LIMIT + 700)
    # Neither always too low nor always too high.
    assert abs(float(np.mean(errors))) <= RELATIVE_ERROR
    assert float(np.std(errors)) <= 1.5 * RELATIVE_ERROR


def test_few_members_are_counted_exactly_however_many_events() -> None:
    random = Random(1)
    cards = [f"c{random.randrange(MEMBER_LIMIT)}" for _ in range(20_000)]
    history = history_of(cards, SECOND)
    values = found(history, T0_US + (len(cards) - 1) * SECOND)
    for window, inside in (("1m", cards[-60:]), ("10m", cards[-600:]), ("1h", cards[-3600:]), ("1d", cards)):
        assert values[f"shop_distinct_card_id_{window}"] == len(set(inside))


def test_a_window_that_moves_on_forgets_what_the_sketch_had_seen() -> None:
    history = history_of([f"c{n}" for n in range(5000)], SECOND // 10)
    end_us = T0_US + 5000 * SECOND // 10
    assert found(history, end_us)["shop_distinct_card_id_1h"] > 3000
    assert found(history, end_us + HOUR)["shop_distinct_card_id_1h"] == 0
    assert found(history, end_us + HOUR)["shop_distinct_card_id_1d"] > 3000


def test_the_order_in_which_members_come_does_not_matter() -> None:
    random = Random(3)
    members = [(member_key(member_hash(f"m{n}"), 0), T0_US + random.randrange(DAY)) for n in range(3000)]
    tables = []
    for order in range(3):
        Random(order).shuffle(members)
        table = b""
        for start in range(0, len(members), 177):
            some = np.array(members[start : start + 177], dtype=np.int64)
            table, _ = keep(table, some[:, 0].copy(), some[:, 1].copy())
        tables.append(sorted(map(tuple, np.frombuffer(table, dtype=np.int64).reshape(-1, 2).tolist())))
    exact = [[row for row in table if row[0] & 0xF != SKETCH] for table in tables]
    assert exact[0] == exact[1] == exact[2]
    assert len(exact[0]) == MEMBER_LIMIT


def test_a_member_seen_again_is_one() -> None:
    key = np.array([member_key(member_hash("m"), 0)] * 3, dtype=np.int64)
    table, evicted_until = keep(b"", key, np.array([5, 9, 7], dtype=np.int64))
    assert np.frombuffer(table, dtype=np.int64).tolist() == [int(key[0]), 9]
    assert evicted_until is None
