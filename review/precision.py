"""How often what was flagged was fraud, by what flagged it and by who said so."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import Select, func, select

from review.case_rows import CaseRows
from review.interval import wilson
from review.tables import AUDIT
from review.verdict_days import verdicts_of_names
from stream.records import Decision, micros

By = Literal["model", "rule", "analyst"]
NAMES_LIMIT = 200


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """Of the cases that one model led, one rule fired in or one analyst decided: how many are fraud.

    Counted are cases with the verdict fraud or legit. `low` and `high` bound the share 95 times of 100. `reversed` is
    how many verdicts of an analyst somebody changed into another.
    """

    name: str
    decided: int
    fraud: int
    share: float
    low: float
    high: float
    reversed: int = 0


def leader_of(decision: Decision) -> str:
    """The model that spoke most strongly for this flag, with its version; "rules" where no model scored it.

    >>> from stream.records import MemberScore
    >>> from types import SimpleNamespace
    >>> leader_of(SimpleNamespace(scores={"batch": MemberScore("3", 0.2), "online": MemberScore("7", 0.9)}))
    'online 7'
    """
    if not decision.scores:
        return "rules"
    name, member = max(decision.scores.items(), key=lambda item: (item[1].score, item[0]))
    return f"{name} {member.version}"


class Precisions(CaseRows):
    """Figures over decided cases."""

    def precision(self, by: By, since: datetime | None = None) -> list[Precision]:
        """Each model, rule or analyst with its figures, those with the most cases first; since a time, or ever.

        The audit sample counts for analysts only: no model and no rule flagged it. Days that are over are counted once,
        see `review.verdict_days`.
        """
        counts = verdicts_of_names(self.database, by, since)
        changed: dict[str, int] = {}
        if by == "analyst":
            with self.database.reading() as db:
                changed = {row.name: row.number for row in db.execute(_reversals(since))}
        found = [(name, sum(each.values()), each.get("fraud", 0)) for name, each in counts.items()]
        most = sorted(found, key=lambda one: (-one[1], one[0]))[:NAMES_LIMIT]
        return [_precision(name, decided, frauds, changed.get(name, 0)) for name, decided, frauds in most]


def _reversals(since: datetime | None) -> Select[str, int]:
    made = [AUDIT.c.deed == "reversed", AUDIT.c.detail.is_not(None)]
    if since is not None:
        made.append(AUDIT.c.at_us >= micros(since))
    return select(AUDIT.c.detail.label("name"), func.count().label("number")).where(*made).group_by(AUDIT.c.detail)


def _precision(name: str, decided: int, fraud: int, changed: int) -> Precision:
    interval = wilson(fraud, decided)
    assert interval is not None  # A group has rows.
    share, low, high = interval
    return Precision(name=name, decided=decided, fraud=fraud, share=share, low=low, high=high, reversed=changed)
