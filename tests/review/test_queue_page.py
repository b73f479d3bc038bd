"""The queue as a page, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tests.review.flagged import flagged
from tests.review.office import NOON, Office

ROW = re.compile(r'<li data-case="([0-9a-f]{16})">')


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with closing(Office(tmp_path_factory.mktemp("queue") / "review.sqlite")) as opened:
        opened.cases.take_in(flagged(200, NOON, cards=120), {})
        yield opened


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Office]:
    with closing(Office(tmp_path / "review.sqlite")) as opened:
        yield opened


def test_an_empty_queue_says_that_nothing_waits(empty: Office) -> None:
    page = empty.desk("ann").get("/review")
    assert page.status_code == 200
    assert "Nothing waits" in page.text
    assert not ROW.findall(page.text)


def test_the_queue_is_in_the_order_of_the_store(office: Office) -> None:
    page = office.desk("ann").get("/review")
    assert ROW.findall(page.text) == [case.case_id for case in office.cases.queue(50, now=NOON)]


def test_more_goes_on_where_the_page_ended_until_all_were_shown(office: Office) -> None:
    desk, seen = office.desk("ann"), []
    address = "/review"
    while address:
        page = desk.get(address)
        seen += ROW.findall(page.text)
        more = re.search(r'class="more" href="([^"]+)"', page.text)
        address = more[1].replace("&amp;", "&") if more else ""
    assert len(seen) == len(set(seen)) == office.cases.count(now=NOON)


def test_a_search_finds_a_card_and_keeps_what_was_typed(office: Office) -> None:
    card = office.cases.queue(7, now=NOON)[-1].entity
    page = office.desk("ann").get(f"/review?text={card}")
    assert card in page.text
    assert f'value="{card}"' in page.text
    assert len(ROW.findall(page.text)) < 50


def test_a_view_without_cases_says_so_and_leads_back(office: Office) -> None:
    page = office.desk("ann").get("/review?text=no-such-card")
    assert "No case like that" in page.text


@pytest.mark.parametrize("query", ["outcome=guilty", "after=nowhere", "min_loss=much"])
def test_an_address_that_is_wrong_shows_all_cases_and_what_is_wrong(office: Office, query: str) -> None:
    page = office.desk("ann").get(f"/review?{query}")
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert len(ROW.findall(page.text)) == 50


def test_a_script_gets_the_list_alone_and_as_long_as_it_was(office: Office) -> None:
    page = office.desk("ann").get("/review/list?shown=90", **{"hx-request": "true", "hx-target": "list"})
    assert len(ROW.findall(page.text)) == 90
    assert "<html" not in page.text


def test_a_viewer_looks_and_has_no_button(office: Office) -> None:
    desk = office.desk("vera", "viewer")
    desk.get("/review")
    assert not desk.has_form("/review/next")
    assert not desk.has_form("/review/bulk")
    desk.get(f"/review/cases/{office.cases.queue(1, now=NOON)[0].case_id}")
    assert not desk.has_form("/review/cases/")


def test_a_case_that_is_due_within_the_hour_is_louder_than_one_with_time(empty: Office) -> None:
    now = timedelta(0)
    for number, age_h in enumerate((0.0, 23.5, 30.0)):
        taken = flagged(1, NOON - timedelta(hours=age_h), cards=1, first=number, over=now)
        empty.cases.take_in([msgspec.structs.replace(one, outcome="review") for one in taken], {})
    empty.now = NOON
    text = empty.desk("ann").get("/review").text
    assert re.findall(r'class="due ([a-z]*)">([^<]*)', text) == [
        ("late", "6 h late"),
        ("soon", "due in 30 min"),
        ("", "due in 24 h"),
    ]


def test_claiming_the_next_opens_the_most_urgent_that_is_free(empty: Office) -> None:
    empty.cases.take_in(flagged(9, NOON, cards=9), {})
    first, second, *_ = empty.cases.queue(9, now=NOON)
    empty.cases.claim(first.case_id, "bob", NOON)
    desk = empty.desk("ann")
    desk.get("/review")
    page = desk.send("/review/next")
    assert page.url.path == f"/review/cases/{second.case_id}"
    assert empty.cases.case(second.case_id).holder(NOON) == "ann"


def test_claiming_the_next_where_none_is_free_says_so(empty: Office) -> None:
    desk = empty.desk("ann")
    desk.get("/review")
    assert "is free" in desk.send("/review/next").text


def test_bulk_decides_what_is_selected_and_takes_all_of_it_back(empty: Office) -> None:
    empty.cases.take_in(flagged(12, NOON, cards=12), {})
    ids = [case.case_id for case in empty.cases.queue(5, now=NOON)]
    desk = empty.desk("ann")
    desk.get("/review")
    page = desk.send("/review/bulk", ids=ids[:3], verdict="fraud")
    assert "3 cases: fraud" in page.text
    assert [empty.cases.case(one).verdict for one in ids] == ["fraud"] * 3 + [None] * 2
    desk.send("/review/undo")
    assert [empty.cases.case(one).status for one in ids] == ["open"] * 5
    assert empty.cases.unsent(100, NOON + timedelta(hours=1)) == []


def test_bulk_leaves_alone_what_others_hold_and_says_whose_it_is(empty: Office) -> None:
    empty.cases.take_in(flagged(4, NOON, cards=4), {})
    mine, theirs = [case.case_id for case in empty.cases.queue(2, now=NOON)]
    empty.cases.claim(theirs, "bob", NOON)
    desk = empty.desk("ann")
    desk.get("/review")
    page = desk.send("/review/bulk", 409, ids=[mine, theirs], verdict="legit")
    assert "1 of 2 cases" in page.text
    assert f"bob is working on {empty.cases.case(theirs).entity}" in page.text
    assert page.headers["hx-push-url"] == "false", "an address that nobody can open is not the page's"
    assert (empty.cases.case(mine).verdict, empty.cases.case(theirs).verdict) == ("legit", None)
    desk.send("/review/undo")
    assert empty.cases.case(mine).status == "open", "what was done of it can be taken back"


def test_bulk_without_a_selection_or_with_a_word_that_is_no_verdict_changes_nothing(empty: Office) -> None:
    empty.cases.take_in(flagged(2, NOON, cards=2), {})
    desk = empty.desk("ann")
    desk.get("/review")
    assert "No case is selected" in desk.send("/review/bulk", 422, verdict="fraud").text
    desk.get("/review")
    assert (
        "is no verdict" in desk.send("/review/bulk", 422, ids=[empty.cases.queue()[0].case_id], verdict="guilty").text
    )
    assert empty.cases.count(now=NOON) == 2


def test_bulk_snoozes(empty: Office) -> None:
    empty.cases.take_in(flagged(3, NOON, cards=3), {})
    ids = [case.case_id for case in empty.cases.queue(2, now=NOON)]
    desk = empty.desk("ann")
    desk.get("/review")
    desk.send("/review/bulk", ids=ids, verdict="snooze")
    assert empty.cases.count(now=NOON) == 1


def test_a_view_is_saved_shared_found_and_dropped(empty: Office) -> None:
    desk = empty.desk("ann")
    desk.get("/review?outcome=decline&min_loss=500")
    assert "Big declines" in desk.send("/review/views", name="Big declines", shared="true").text
    assert "Big declines" in empty.desk("bob").get("/review").text
    desk.get("/review?outcome=decline&min_loss=500")
    assert "Big declines" not in desk.send("/review/views/drop").text


def test_a_view_of_ones_own_is_nobody_elses(empty: Office) -> None:
    desk = empty.desk("ann")
    desk.get("/review?overdue=true&outcome=review")
    desk.send("/review/views", name="Mine alone")
    assert "Mine alone" not in empty.desk("bob").get("/review").text
