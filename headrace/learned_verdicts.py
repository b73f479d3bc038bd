"""What the learner has of verdicts, from its own file, which is only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from review.case_store import EVENTS_LIMIT
from stream.records import Verdict, micros
from training.learner_store import FILE

TIMEOUT_S = 1.0


class LearnerLessons:
    """The learner's file in a home. Where there is none, as on another machine, nobody knows."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def learned(self, event_ids: Sequence[str], verdict: Verdict, at: datetime) -> int | None:
        """Of how many of these events it has this verdict, of this time or later; None where nobody knows."""
        if not self._path.exists():
            return None
        wanted = list(event_ids[:EVENTS_LIMIT])
        places = ", ".join("?" * len(wanted))
        statement = (
            f"SELECT count(*) FROM decisions WHERE event_id IN ({places}) AND verdict = ? AND labelled_at_us >= ?"
        )
        try:
            where = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(where, uri=True, timeout=TIMEOUT_S)) as db:
                return int(db.execute(statement, [*wanted, verdict, micros(at)]).fetchone()[0])
        except sqlite3.Error:
            return None
