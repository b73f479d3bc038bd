"""Lists that live rules ask are changed by two people, unless the policy says that one is enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from headrace.rule_desk import BookDesk
from review.rule_desk import RuleRefused
from scoring.rule_backtest import _kept
from scoring.rule_book import WAITING_LIMIT
from scoring.rule_log import RuleLog
from scoring.rules import read_rules
from scoring.use_case import FRAUD
from stream.archive import Archive
from stream.card_guard import CardGuard
from stream.card_key import CardKey
from stream.connection import RedisConnection
from tests.review.office import NOON
from tests.review.rule_office import RuleOffice

DAY = timedelta(days=1)


def desk_at(redis: str, path: object, lists_four_eyes: bool = True) -> BookDesk:
    log = RuleLog(RedisConnection(redis), FRAUD.name, read_rules(FRAUD.rules), FRAUD.features)
    guard, archive = CardGuard("tokenise", CardKey(path)), Archive(path)  # type: ignore[arg-type]
    never = lambda: lambda record, score: "approve"  # noqa: E731
    return BookDesk(log, FRAUD, archive, guard, DAY, never, lambda: NOON, lists_four_eyes)  # type: ignore[arg-type]


@pytest.fixture
def desk(redis_db: str, tmp_path: object) -> Iterator[BookDesk]:
    with closing(desk_at(redis_db, tmp_path)) as opened:
        yield opened


def on(desk: BookDesk, name: str = "deny") -> dict[str, float | None]:
    """Days from noon until each value leaves."""
    members, _ = desk.members(name, "card_id", "", 99, NOON)
    return {one.value: None if one.until is None else (one.until - NOON) / DAY for one in members}


def test_what_one_person_puts_on_a_list_of_a_live_rule_holds_once_another_agrees(desk: BookDesk) -> None:
    assert desk.put("deny", "card_id", ["c1", "c2"], NOON + 7 * DAY, "ann", "a ring", NOON)
    (waits,) = desk.book(NOON).waiting
    assert (on(desk), waits.values, waits.by, waits.why, waits.off) == ({}, ("c1", "c2"), "ann", "a ring", False)
    with pytest.raises(RuleRefused, match="another has to agree"):
        desk.answer("deny", waits.version, True, " Ann", "", NOON)
    desk.answer("deny", waits.version, True, "lea", "", NOON + DAY)
    assert on(desk) == {"c1": 7.0, "c2": 7.0}
    with pytest.raises(RuleRefused, match="no change 1"):
        desk.answer("deny", waits.version, True, "lea", "", NOON)
    assert desk.take_off("deny", "card_id", ["c1"], "lea", "", NOON + DAY)
    assert len(on(desk)) == 2
    desk.answer("deny", desk.book(NOON).waiting[0].version, True, "ann", "", NOON + 2 * DAY)
    assert on(desk) == {"c2": 7.0}


def test_what_is_urgent_holds_for_a_day_and_on_once_another_agrees(desk: BookDesk) -> None:
    assert desk.put("deny", "card_id", ["c1"], None, "ann", "", NOON, urgent=True)
    assert on(desk) == {"c1": 1.0}
    desk.answer("deny", desk.book(NOON).waiting[0].version, True, "lea", "", NOON)
    assert on(desk) == {"c1": None}
    desk.put("deny", "card_id", ["c2"], NOON + DAY / 2, "ann", "", NOON, urgent=True)
    assert on(desk) == {"c1": None, "c2": 0.5}


def test_what_was_urgent_and_is_refused_is_gone_but_not_what_was_there_before(desk: BookDesk) -> None:
    desk.put("deny", "card_id", ["c1"], NOON + 5 * DAY, "ann", "", NOON)
    desk.answer("deny", desk.book(NOON).waiting[0].version, True, "lea", "", NOON)
    desk.put("deny", "card_id", ["c2"], None, "ann", "", NOON + timedelta(hours=1), urgent=True)
    desk.answer("deny", desk.book(NOON).waiting[0].version, False, "lea", "no", NOON + timedelta(hours=2))
    assert (on(desk), desk.book(NOON).waiting) == ({"c1": 5.0}, ())


def test_lists_that_no_live_rule_asks_and_policies_of_one_person_change_at_once(
    desk: BookDesk, redis_db: str, tmp_path: object
) -> None:
    assert not desk.put("watched", "card_id", ["c1"], None, "ann", "", NOON)
    assert not desk.put("allow", "merchant_id", ["m1"], None, "ann", "", NOON)
    assert on(desk, "watched") == {"c1": None}
    with closing(desk_at(redis_db, tmp_path, lists_four_eyes=False)) as alone:
        assert not alone.put("deny", "card_id", ["c1"], None, "ann", "", NOON)
        assert on(alone) == {"c1": None}


def test_a_change_that_nobody_answers_is_void_after_a_week_and_few_may_wait(desk: BookDesk) -> None:
    for number in range(WAITING_LIMIT):
        desk.put("allow", "card_id", [f"c{number}"], None, "ann", "", NOON)
    with pytest.raises(RuleRefused, match="100 changes of lists wait"):
        desk.put("allow", "card_id", ["more"], None, "ann", "", NOON)
    late = NOON + 8 * DAY
    assert desk.book(late).waiting == ()
    with pytest.raises(RuleRefused, match="no change 1"):
        desk.answer("allow", 1, True, "lea", "", late)
    desk.put("allow", "card_id", ["more"], None, "ann", "", late)
    assert len(desk.book(late).waiting) == 1 and on(desk, "allow") == {}


def test_a_backtest_knows_from_when_on_a_value_was_there(desk: BookDesk) -> None:
    desk.put("deny", "card_id", ["c1"], None, "ann", "", NOON)
    desk.put("deny", "card_id", ["c2"], None, "ann", "", NOON)
    desk.answer("deny", 1, True, "lea", "", NOON + DAY)
    desk.answer("deny", 2, False, "lea", "", NOON + DAY)
    with desk._read() as log:
        kept = _kept(step for _, step in log.steps())
    assert [(one.value, one.from_s) for one in kept] == [("c1", (NOON + DAY).timestamp())]


def test_the_page_proposes_and_a_lead_who_is_somebody_else_agrees(
    redis_db: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with closing(RuleOffice(tmp_path_factory.mktemp("lists"), redis_db)) as office:
        ann, bob, lea = office.desk("ann"), office.desk("bob"), office.desk("lea", "lead")
        ann.get("/rules/lists")
        page = ann.send("/rules/lists/put", list="deny", field="card_id", values="card-77", days="7", urgent="1")
        assert "on the list for a day at most" in page.text and "Leaves" in page.text
        assert not ann.has_form("/rules/lists/agree") and ann.has_form("/rules/lists/refuse")
        bob.get("/rules/lists")
        assert "card-77" in bob.page_text() and not bob.has_form("/rules/lists/refuse")
        lea.get("/rules/lists")
        lea.send("/rules/lists/agree")
        assert "card-77" not in lea.get("/rules/lists").text
        lea.get("/rules/lists?list=deny&field=card_id")
        page = lea.send("/rules/lists/take-off", value=["card-77"])
        assert not lea.has_form("/rules/lists/agree"), "a lead does not agree with herself"
        assert [step.do for step in office.desk_of_rules.steps("deny", 9)] == ["unlist", "answer", "list", "list"]
        lea.send("/rules/lists/refuse")
        assert office.desk_of_rules.book(office.now).waiting == ()
