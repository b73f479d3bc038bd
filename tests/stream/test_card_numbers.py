from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.card_numbers import find, is_card_number, mask, may_hold
from tests.cards import AMEX, MASTERCARD, VISA, card_numbers, holds, written


def found_in(text: str) -> list[str]:
    return [one.digits for one in find(text)]


@pytest.mark.parametrize(
    "text",
    [
        VISA,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111-1111 1111-1111",
        "card 4111111111111111, exp 12/27",
        "4111 1111 1111 1111 12/27",
        "4111 1111 1111 1111 123",
        "order 1 4111 1111 1111 1111",
        "2026-01-31 4111111111111111",
        "%B4111111111111111^DOE/JOHN^2712",
        "id=4111111111111111;",
        "v1.4111111111111111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert found_in(text) == [VISA]
    assert may_hold(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "card-000123",
        "4111111111111112",  # fails the check
        "0000000000000000",  # passes it, and no scheme begins so
        "1767225600000000",  # microseconds
        "2026-01-31T12:00:00.123456Z",
        "4111  1111  1111  1111",  # two spaces
        "41111111111111110000000000",  # too long to be one
        "411111111111",
        "6f9619ff-8b86-4111-8111-411111111111",
        "4222-2222-2222-2",
        "tok_aau6ibmjpdjnjz5eyoboprsk",
    ],
)
def test_what_is_none_is_left_alone(text: str) -> None:
    if text == "4222-2222-2222-2":  # thirteen digits: one of the oldest
        assert found_in(text) == ["4222222222222"]
        return
    assert found_in(text) == []
    assert mask(text) == text


def test_a_uuid_is_no_card_number_even_where_its_digits_are() -> None:
    assert found_in("00000000-4111-1111-1111-111100000000") == []
    assert found_in("x 00000000-4111-1111-1111-111100000000, 4111111111111111") == [VISA]


def test_several_in_one_text_are_all_found() -> None:
    assert found_in(f"{VISA} {MASTERCARD}-{AMEX}") == [VISA, MASTERCARD, AMEX]


def test_stars_leave_the_last_four_digits_and_what_stands_around() -> None:
    assert mask("pay 3782-822463-10005 now") == "pay ****-******-*0005 now"


def test_a_text_too_long_to_be_searched_by_group_is_masked_at_every_long_run() -> None:
    assert not holds(mask("x" * 10_000 + "9 4111 1111 1111 1111").encode(), VISA)


@given(card_numbers().flatmap(lambda digits: st.tuples(st.just(digits), written(digits))))
def test_every_number_is_found_and_masked(case: tuple[str, str]) -> None:
    digits, text = case
    assert is_card_number(digits)
    assert may_hold(text.encode())
    assert found_in(text)
    assert not holds(mask(text).encode(), digits)


@given(card_numbers(), st.integers(0, 18), st.integers(1, 9))
def test_one_wrong_digit_makes_it_none(digits: str, place: int, more: int) -> None:
    place %= len(digits)
    wrong = str((int(digits[place]) + more) % 10)
    assert not is_card_number(digits[:place] + wrong + digits[place + 1 :])


@given(st.text(alphabet="0123456789 -.x", max_size=80))
def test_the_quick_look_overlooks_nothing(text: str) -> None:
    assert may_hold(text.encode()) or not found_in(text)


def test_few_random_numbers_look_like_card_numbers() -> None:
    draw = random.Random(1)
    numbers = [f"{draw.randrange(10**15, 10**16)}" for _ in range(20_000)]
    assert 0.02 < sum(map(is_card_number, numbers)) / len(numbers) < 0.06
