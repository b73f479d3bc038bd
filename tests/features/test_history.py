"""A history as bytes: what goes in comes out, what is broken is noticed, what repeats is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.aggregates import count, sum
from features.history import HEAD_BYTES, CorruptState, History, is_state
from features.view import RECENT_IDS, View
from stream.records import Transaction
from tests.oracle import DAY, HOUR, MINUTE, SECOND, T0_US, everything, payment

CARD = everything()
SMALL = View("card", entity="card_id", source=Transaction, windows=("30d",), features=[count(), sum("amount")])


def packed(view: View, at_us: int, number: int = 0) -> bytes:
    row = view.row(payment(number, at_us, merchant_id=f"m{number}"))
    assert row is not None
    return row


def filled(view: View, size: int) -> History:
    history = History(view)
    for number in range(size):
        history.fold(packed(view, T0_US + number * SECOND, number))
        history.remember(number)
        history.sources[number % 3] = number
    return history


@pytest.mark.parametrize("size", [0, 1, 256, 257, 700])
def test_what_is_encoded_is_decoded(size: int) -> None:
    history = filled(CARD, size)
    again = History.decode(CARD, history.encode())
    for part in ("merged", "rows", "members", "ids", "sources", "evicted_until_us", "newest_us"):
        assert getattr(again, part) == getattr(history, part)
    assert again.revision == history.revision + 1
    assert again.encode() != history.encode()


def test_two_states_differ_in_their_first_bytes() -> None:
    states = [filled(CARD, size).encode()[:HEAD_BYTES] for size in range(50)]
    assert len(set(states)) == 50


@given(st.integers(HEAD_BYTES - 4, 10_000), st.integers(1, 255))
def test_a_broken_byte_raises(at: int, flip: int) -> None:
    state = bytearray(filled(CARD, 9).encode())
    state[HEAD_BYTES - 4 + at % (len(state) - HEAD_BYTES + 4)] ^= flip
    with pytest.raises(CorruptState, match="replay its history"):
        History.decode(CARD, bytes(state))


@pytest.mark.parametrize("cut", [1, 8, 100])
def test_a_state_cut_short_raises(cut: int) -> None:
    with pytest.raises(CorruptState):
        History.decode(CARD, filled(CARD, 9).encode()[:-cut])


@pytest.mark.parametrize("state", [None, b"", b"HRS1", b"x" * 500])
def test_what_is_no_state_reads_as_empty(state: bytes | None) -> None:
    history = History.decode(CARD, state)
    assert (history.rows, history.merged, history.ids, history.sources) == (b"", b"", b"", {})
    assert not is_state(state, CARD)


def test_a_state_of_another_layout_reads_as_empty() -> None:
    assert History.decode(SMALL, filled(CARD, 9).encode()).rows == b""
    assert History.decode(CARD, filled(CARD, 9).encode()).rows != b""


def test_the_last_256_identities_are_known() -> None:
    history = History(CARD)
    for identity in range(RECENT_IDS + 1):
        history.remember(identity)
    assert not history.knows(0)
    assert all(history.knows(identity) for identity in range(1, RECENT_IDS + 1))
    assert len(history.ids) == 8 * RECENT_IDS


def test_bytes_that_lie_across_two_identities_are_not_known() -> None:
    history = History(CARD)
    history.remember(0x0102030405060708)
    history.remember(0x0102030405060708)
    assert not history.knows(0x0405060708010203)
    assert history.knows(0x0102030405060708)


def test_a_card_with_50_events_and_one_field_stays_under_one_and_a_half_kilobytes() -> None:
    assert len(filled(SMALL, 50).encode()) < 1500


def test_an_event_beyond_the_horizon_is_refused() -> None:
    history = filled(CARD, 1)
    assert CARD.horizon_us == DAY + HOUR + MINUTE
    before = history.rows
    assert not history.fold(packed(CARD, T0_US - CARD.horizon_us))
    assert history.rows == before
    assert history.fold(packed(CARD, T0_US - CARD.horizon_us + 1))


def test_rows_expire_at_the_horizon() -> None:
    history = filled(CARD, 1)
    history.fold(packed(CARD, T0_US + CARD.horizon_us - 1))
    assert len(history.rows) == 2 * CARD.row_size
    history.fold(packed(CARD, T0_US + CARD.horizon_us))
    assert len(history.rows) == 2 * CARD.row_size
    assert history.newest_us == T0_US + CARD.horizon_us


def test_events_before_1970_have_their_place_too() -> None:
    history = History(CARD)
    assert history.fold(packed(CARD, -5))
    assert history.fold(packed(CARD, -6))
    assert History.decode(CARD, history.encode()).newest_us == -5


def test_a_partition_that_was_never_applied_is_at_minus_one() -> None:
    history = filled(CARD, 3)
    assert [history.applied(source) for source in (0, 1, 2, 3)] == [0, 1, 2, -1]
