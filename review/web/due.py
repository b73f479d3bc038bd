"""How much time a case has left, in the words of the queue."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from review.case import Case
from review.web.wording import ago

SOON = timedelta(hours=1)


class Due(NamedTuple):
    """What to show, and how loudly."""

    text: str
    tone: Literal["", "soon", "late"]


def due(case: Case, now: datetime) -> Due:
    """When the verdict is wanted: `due in 3 h`, or by how much that is over: `20 min late`."""
    left = case.due_at - now
    if left <= timedelta(0):
        return Due(f"{ago(case.due_at, now).removesuffix(' ago').replace('now', 'just now')} late", "late")
    return Due(f"due {ago(case.due_at, now)}", "soon" if left < SOON else "")
