"""The features of recommendations: live equals batch equals the oracle, and what a visit sees."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import duckdb
import pytest

from features.batch import batch_sql, batch_vectors
from features.declared import FEATURE_SETS, pending
from features.feature_set import ViewRead
from features.history import History
from features.recommendation import ITEM, ITEMS, RECOMMENDATION, USER, Visit
from features.view import View
from stream.records import Action, Transaction, from_micros, micros
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, differences, payment, read

FIELDS = ("event_id", "user_id", "session_id", "item_id", "action", "value")


def action(number: int, at_us: int, **fields: Any) -> Action:
    return Action(
        event_id=f"a{number}",
        event_timestamp=from_micros(at_us),
        action=fields.pop("action", "click"),
        user_id=fields.pop("user_id", "u"),
        **fields,
    )


def browsing(size: int = 240) -> list[Action]:
    random, at_us, actions = Random(3), T0_US, []
    for number in range(size):
        at_us += random.choice([0, 1, SECOND, 20 * SECOND, 11 * MINUTE, 2 * HOUR, 2 * DAY])
        actions.append(
            action(
                number,
                at_us,
                action=random.choice(["click", "hide", "purchase"]),
                user_id=random.choice(["u1", "u2", ""]),
                session_id=f"s{random.randint(1, 3)}",
                item_id=random.choice([None, "i1", "i2", f"i{random.randint(3, 40)}"]),
                value=random.choice([None, 1.0, random.uniform(0, 5)]),
            )
        )
    return actions


def history_of(view: View, actions: Sequence[Action], value: str) -> History:
    history = History(view)
    rows = [view.row(one) for one in actions if getattr(one, view.entity) == value]
    history.fold_all([row for row in rows if row is not None])
    return history


def vector_at(visit: Visit, actions: Sequence[Action]) -> list[float]:
    past = [one for one in actions if one.event_timestamp <= visit.event_timestamp]
    reads = {
        view.name: ViewRead(history_of(view, past, value), [])
        for view in RECOMMENDATION.views
        if (value := getattr(visit, view.entity)) is not None
    }
    values: list[float] = RECOMMENDATION.vector(visit, reads).values.tolist()
    return values


def visits_among(actions: Sequence[Action]) -> list[Visit]:
    return [
        Visit(event_timestamp=one.event_timestamp, user_id=one.user_id, session_id=one.session_id if n % 2 else None)
        for n, one in enumerate(actions)
        if n % 6 == 5
    ]


@pytest.mark.parametrize("executor", [batch_vectors, "in SQL"], ids=["compiled", "sql"])
def test_what_a_visit_is_scored_with_is_the_same_live_in_batch_and_by_the_oracle(executor: Any) -> None:
    actions = browsing()
    visits = visits_among(actions)
    connection = duckdb.connect(":memory:", config={"threads": 1})
    _table(connection, "actions", actions, FIELDS)
    _table(connection, "slates", visits, ("user_id", "session_id", "scenario"))
    sources = {"actions": "actions", "slates": "slates"}
    found = (
        executor(connection, RECOMMENDATION, sources)
        if callable(executor)
        else connection.sql(batch_sql(RECOMMENDATION, sources))
    )
    batch = [row[3:] for row in found.order("sequence").fetchall()]
    assert len(batch) == len(visits)
    for visit, from_batch in zip(visits, batch, strict=True):
        live = vector_at(visit, actions)
        assert not differences(RECOMMENDATION.names, live, from_batch)
        expected: list[float | None] = []
        for view in RECOMMENDATION.views:
            value = getattr(visit, view.entity)
            own = [one for one in actions if getattr(one, view.entity) == value]
            expected += [None] * len(view.names) if value is None else read(view, own, micros(visit.event_timestamp))
        assert not differences(RECOMMENDATION.names[: len(expected)], live[: len(expected)], expected)


def test_what_is_known_of_an_item_is_what_the_oracle_says() -> None:
    actions = browsing()
    end_us = micros(actions[-1].event_timestamp)
    for item in ("i1", "i2", "i7"):
        own = [one for one in actions if one.item_id == item]
        found = ITEMS.read_view("item", history_of(ITEM, actions, item), end_us + HOUR).tolist()
        assert not differences(ITEM.names, found, read(ITEM, own, end_us + HOUR))


def test_a_click_of_a_minute_ago_is_in_the_hour_and_one_of_yesterday_is_not() -> None:
    clicks = [action(1, T0_US - DAY, item_id="i1"), action(2, T0_US - MINUTE, item_id="i2")]
    vector = dict(zip(RECOMMENDATION.names, vector_at(_visit(T0_US), clicks), strict=True))
    assert (vector["user_count_1h"], vector["user_count_7d"], vector["user_since_last"]) == (1.0, 2.0, 60.0)


def test_an_action_without_a_user_is_pending_at_its_session_twice_by_name() -> None:
    refs = pending(Action(event_id="a", event_timestamp=from_micros(T0_US), action="view", session_id="s1"))
    assert {(ref.entity, ref.value) for ref in refs} == {("user_id", "session:s1"), ("session_id", "s1")}


def test_no_entity_is_kept_by_two_sets() -> None:
    kept = [(entity, name) for name, one in FEATURE_SETS.items() for entity in one.entities]
    assert len({entity for entity, _ in kept}) == len(kept)


def test_actions_and_transactions_have_their_primary_views() -> None:
    assert set(pending(payment(1, T0_US))) == set(FEATURE_SETS["fraud"].pending(payment(1, T0_US)))
    assert USER.source is Action
    assert FEATURE_SETS["fraud"].source is Transaction


def _visit(at_us: int) -> Visit:
    return Visit(event_timestamp=from_micros(at_us), user_id="u")


def _table(connection: duckdb.DuckDBPyConnection, name: str, records: Sequence[Any], fields: Sequence[str]) -> None:
    columns = ", ".join(f"{field} {'DOUBLE' if field == 'value' else 'VARCHAR'}" for field in fields)
    more = "" if "event_id" in fields else ", event_id VARCHAR"
    connection.execute(f"CREATE TABLE {name} ({columns}{more}, event_timestamp BIGINT, sequence BIGINT)")
    for number, one in enumerate(records):
        row = [*(getattr(one, field) for field in fields), *([] if "event_id" in fields else [str(number)])]
        row += [micros(one.event_timestamp), number]
        connection.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
