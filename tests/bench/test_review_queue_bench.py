from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import msgspec

from bench.review_copy import copy_into
from bench.review_queue import figures
from bench.review_world import World, fill
from review.case_filter import QueueFilter
from review.case_store import CaseStore


def test_the_queue_is_measured_filled_and_asked(tmp_path: Path) -> None:
    place = str(tmp_path / "review.sqlite")
    fill(place, World(waiting=320, closed=60, copies=2, of_busy=6, of_full=3))
    with closing(CaseStore(place)) as store:
        assert store.open_count() == 322
        found = figures(place, repeats=1, writes=1, load_s=0.0)
    assert "queue, search: every card" in found
    assert all(math.isfinite(figure.value) and figure.value > 0 for figure in found.values())
    assert [name for name, figure in found.items() if "reads all" in figure.note] == []


def test_a_copy_is_asked_the_same_and_answers_it(tmp_path: Path) -> None:
    place, copied = str(tmp_path / "review.sqlite"), str(tmp_path / "copied.sqlite")
    fill(place, World(waiting=60, closed=20, copies=1, of_busy=3, of_full=2))
    copy_into(place, copied)
    with closing(CaseStore(place)) as store, closing(CaseStore(copied)) as other:
        for wanted in (QueueFilter(text="card"), QueueFilter(text="kiosk"), QueueFilter(rule="common")):
            for status in ("open", "decided"):
                ours, theirs = (
                    [case.case_id for case in one.queue(500, filter=msgspec.structs.replace(wanted, status=status))]
                    for one in (store, other)
                )
                assert ours and ours == theirs, (wanted, status)
