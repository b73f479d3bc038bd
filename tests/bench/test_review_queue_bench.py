from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

from bench.review_queue import figures
from bench.review_world import World, fill
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
