"""Filters in addresses."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from review.case_filter import QueueFilter
from review.web.queue_address import BUILT_IN, LONGEST_PAGE, PAGE, InvalidFilter, address_of, asked, chips, filter_in

FULL = QueueFilter(
    text="card-1 & 2",
    status="decided",
    outcome="decline",
    use_case="fraud",
    rule='"r"',
    assigned_to="@me",
    claimed="free",
    min_loss=12.5,
    overdue=True,
)


@pytest.mark.parametrize("filter", [QueueFilter(), FULL, *(filter for _, filter in BUILT_IN)])
def test_an_address_leads_back_to_its_filter(filter: QueueFilter) -> None:
    assert asked(dict(parse_qsl(address_of(filter).removeprefix("?")))).filter == filter


def test_empty_fields_of_a_form_ask_nothing() -> None:
    assert asked({"text": " ", "outcome": "", "min_loss": "", "unknown": "1"}).filter == QueueFilter()


@pytest.mark.parametrize(
    "parameters",
    [
        {"outcome": "guilty"},
        {"min_loss": "-1"},
        {"min_loss": "much"},
        {"status": "x"},
        {"overdue": "maybe"},
        {"after": "x"},
        {"after": "é"},
        {"after": "1e30_x", "status": "decided"},
        {"after": "nan_x"},
        {"after": "-inf_x"},
        {"min_loss": "inf"},
        {"min_loss": "nan"},
        {"shown": "many"},
    ],
)
def test_what_no_filter_is_gets_an_answer_in_words_and_all_cases(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidFilter, match=r"\w+ .*\."):
        asked(parameters)
    assert filter_in(parameters) == QueueFilter()


@pytest.mark.parametrize(("shown", "limit"), [("1", PAGE), ("120", 120), ("100000", LONGEST_PAGE), ("", PAGE)])
def test_a_list_is_as_long_as_it_was_within_bounds(shown: str, limit: int) -> None:
    assert asked({"shown": shown}).limit == limit


def test_each_chip_takes_one_thing_off_the_filter() -> None:
    found = chips(FULL)
    assert len(found) == 9
    for _, address in found:
        assert len(chips(asked(dict(parse_qsl(address.partition("?")[2]))).filter)) == 8


def test_a_text_that_is_too_long_is_cut() -> None:
    assert len(asked({"text": "x" * 5000}).filter.text) == 128
