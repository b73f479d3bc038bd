"""How often rules fired, counted beside the pages."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from headrace.rule_hit_count import DAYS, KEPT, HitCount
from stream.archive import Archive
from tests.until import until

NOON = datetime(2026, 1, 20, 12, tzinfo=UTC)
Named = dict[str, dict[date, tuple[int, int, int]]]


def test_a_count_that_fails_leaves_the_one_before_and_the_next_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Named | Exception] = [
        {"large": {NOON.date(): (3, 0, 0)}},
        duckdb.IOException("a file was merged with others"),
        {"large": {NOON.date(): (5, 1, 0)}},
    ]

    def named(*asked: object) -> Named:
        if isinstance(answer := said.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr("headrace.rule_hit_count.named_by_day", named)
    hits = HitCount(Archive(tmp_path), "fraud")

    def today(now: datetime) -> int:
        counted = hits.counted(now)
        assert counted is not None and len(counted["large"]) == DAYS
        return counted["large"][-1].live

    until(lambda: hits.counted(NOON) is not None)
    assert today(NOON) == 3
    until(lambda: today(NOON + KEPT) == 3 and len(said) == 1)
    until(lambda: today(NOON + 3 * KEPT) == 5)
