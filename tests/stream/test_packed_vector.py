"""What a slate's vectors were, whichever form they are logged in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.packed_vector import listed, packed, packed_rows, unpacked
from stream.records import Slate, decode, encode

VALUES = np.array([1.5, math.nan, -3e38, math.inf, 0.1], dtype=np.float32)


def test_what_was_packed_is_read_again_and_what_is_no_number_is_unknown() -> None:
    assert listed(packed(VALUES)) == [1.5, None, float(np.float32(-3e38)), None, float(np.float32(0.1))]
    assert len(packed(VALUES)) == 4 * len(VALUES)


def test_rows_are_packed_one_by_one() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert packed_rows(rows[:, 1:]) == [packed(row) for row in rows[:, 1:]]
    assert packed_rows(rows[:0]) == []


def test_a_list_as_earlier_versions_logged_it_reads_the_same() -> None:
    text = b"""{"type": "slate", "event_id": "s", "event_timestamp": "2026-01-31T12:00:00Z", "user_id": "ann",
        "items": [{"item_id": "i", "score": 1.0, "source": "new", "reason": "", "vector": [1.5, null, 0.1]}],
        "vector": [null, 2], "definition_hash": "d"}"""
    slate: Slate = decode(text, Slate)
    assert listed(slate.vector) == [None, 2.0]
    assert unpacked(slate.items[0].vector).tobytes() == unpacked(packed(VALUES[[0, 1, 4]])).tobytes()
    again: Slate = decode(encode(slate), Slate)
    assert again == slate


def test_bytes_that_are_no_vector_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        unpacked(b"12345")
