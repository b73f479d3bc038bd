"""The table "When things go wrong" of docs/operations.md: the learner's disk is full for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream.records import Decision, Label
from tests.training.test_learner_loop import Keeping, run, start

EVENTS = 60
PAGES = 1_000_000


def test_a_full_disk_is_waited_for_and_every_label_is_learned_once(
    log: Any,
    decision: Callable[..., Decision],
    label: Callable[..., Label],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SQLite may use one page more than it has: beyond, it answers as it does where the disk has no room."""
    for number in range(EVENTS):
        log.send(decision(f"e{number}", [float(number), 1.0]), label(f"e{number}", "fraud" if number % 2 else "legit"))
    store, learner = start(tmp_path / "learner.sqlite")
    with closing(store):
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        kept = Keeping()

        def learned() -> bool:
            if "database or disk is full" in caplog.text:
                store._db.execute(f"PRAGMA max_page_count = {PAGES}")
            return any(each.counters.learned == EVENTS for each in kept.reports)

        run(learner, log, kept, learned)
        assert "database or disk is full" in caplog.text
        assert kept.reports[-1].counters.learned == EVENTS
