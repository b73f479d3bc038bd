"""What is known of a visitor when candidates are looked for, from histories, from learning and from the request."""

from __future__ import annotations

import numpy as np
import pytest

from features.feature_set import ViewRead
from features.history import History
from features.recommendation import SESSION, USER
from features.recommendation import Visit as Asked
from features.view import View
from models.number_table import find_one
from models.visit import RECENT_LIMIT, Visit, empty_visit
from scoring.visitor import ItemNumbers, done_in, visit_of
from stream.records import Action, from_micros

END_US = 1_700_000_000_000_000
IDS = [f"item-{n}" for n in range(400)]


@pytest.fixture(scope="module")
def numbers() -> ItemNumbers:
    found = ItemNumbers()
    found.follow(IDS)
    return found


def read_of(view: View, seed: int, actions: int) -> ViewRead:
    random = np.random.default_rng(seed)
    rows = []
    for n in range(actions):
        at_us = END_US - int(random.integers(3_600_000_000))
        item = f"item-{random.integers(500)}"  # a fifth of them nobody knows
        kind = ("view", "purchase", "hide")[int(random.integers(3))]
        action = Action(
            event_id=f"e-{n}",
            event_timestamp=from_micros(at_us),
            action=kind,
            user_id="ann",
            item_id=item,
            session_id="s",
        )
        row = view.row(action)
        assert row is not None
        rows.append(row)
    history = History(view)
    history.fold_all(rows[: actions // 2])
    return ViewRead(history, rows[actions // 2 :])


def learned(seed: int, actions: int) -> Visit:
    random = np.random.default_rng(seed)
    items = random.permutation(400)[:actions].astype(np.int32)
    times = END_US - random.integers(0, 7_200_000_000, actions)
    return empty_visit("ann", END_US)._replace(
        items=items,
        times_us=times,
        weights=np.full(actions, 2.0, np.float32),
        seen=np.append(items, 399).astype(np.int32),
    )


@pytest.mark.parametrize(("of_user", "of_session", "known"), [(0, 0, 0), (40, 0, 5), (0, 9, 0), (300, 60, 150)])
@pytest.mark.parametrize("here", [-1, 17, 398])
def test_the_newest_action_on_each_item_counts(
    numbers: ItemNumbers, of_user: int, of_session: int, known: int, here: int
) -> None:
    before = learned(of_user, known)
    reads = {USER.name: read_of(USER, 1, of_user), SESSION.name: read_of(SESSION, 2, of_session)}
    reads = {name: read for name, read in reads.items() if read.history.rows}
    newest: dict[int, tuple[int, float]] = {}
    for view in (USER, SESSION):
        if view.name in reads:
            done = done_in(view, reads[view.name])
            places = [find_one(*numbers.slots, bits) for bits in done.hashes.tolist()]
            for item, at_us, weight in zip(places, done.times_us.tolist(), done.weights.tolist(), strict=True):
                if item >= 0 and at_us >= newest.get(item, (0, 0.0))[0]:
                    newest[item] = (at_us, weight)
    for item, at_us in zip(before.items.tolist(), before.times_us.tolist(), strict=True):
        if at_us >= newest.get(item, (0, 0.0))[0]:
            newest[item] = (at_us, 2.0)
    asked = Asked(event_timestamp=from_micros(END_US), user_id="ann", scenario="home")
    visit = visit_of(asked, reads, numbers, before, here, np.array([3, -1], dtype=np.int32), 6)
    expected = sorted(newest, key=lambda item: -newest[item][0])
    recent = [here, *(item for item in expected if item != here)] if here >= 0 else expected
    assert visit.items.tolist() == recent[:RECENT_LIMIT]
    told = {**newest, here: (END_US, 1.0)}
    assert [*zip(visit.times_us.tolist(), visit.weights.tolist(), strict=True)] == [
        told[item] for item in visit.items.tolist()
    ]
    assert {*visit.seen.tolist()} == {*newest, *before.seen.tolist(), 3, -1}
    assert (visit.user, visit.at_us, visit.scenario, visit.category) == ("ann", END_US, "home", 6)
