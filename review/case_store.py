"""Cases, verdicts, the labels they give and the audit, in one database: what belongs together is one transaction."""

from __future__ import annotations

from pathlib import Path

from review.audit_sample import AuditSample, Missed
from review.bulk import Bulk
from review.case_deeds import CaseDeeds, Evidence, Note
from review.case_erasure import Erasure
from review.case_filter import ME, NOBODY, QueueFilter
from review.engine import CasesUnavailable, Database, open_engine
from review.intake import Offsets, Taken
from review.links import Edge, Graph, Links, Node
from review.nearest import Nearest, Similar
from review.outbox import Labels, Outbox
from review.precision import Precision, Precisions
from review.refusals import UnknownCase
from review.review_policy import ReviewPolicy
from review.saved_views import SavedViews, View
from review.schema import bring_up_to_date
from review.verdicts import Verdicts

__all__ = [
    "ME",
    "NOBODY",
    "Bulk",
    "CaseStore",
    "CasesUnavailable",
    "Edge",
    "Evidence",
    "Graph",
    "Labels",
    "Missed",
    "Node",
    "Note",
    "Offsets",
    "Precision",
    "QueueFilter",
    "Similar",
    "Taken",
    "UnknownCase",
    "View",
]

EVENTS_LIMIT = 1000
DEFAULT_POLICY = ReviewPolicy()


class CaseStore(Verdicts, Outbox, CaseDeeds, Links, Nearest, AuditSample, Precisions, SavedViews, Erasure):
    """A SQLite file, or a PostgreSQL database by its URL, made or brought up to date when opened.

    Any number of threads may use one store, and any number of processes one database. A flagged event joins the newest
    open case of its entity; one with `events_limit` events is full and the next event opens another. `":memory:"` keeps
    nothing, and is for one thread. Every method raises `CasesUnavailable` where the database is gone, locked or full.
    """

    def __init__(
        self, place: Path | str, events_limit: int = EVENTS_LIMIT, policy: ReviewPolicy = DEFAULT_POLICY
    ) -> None:
        self.events_limit = events_limit
        engine = open_engine(place)
        try:
            bring_up_to_date(engine)
        except BaseException:
            engine.dispose()
            raise
        super().__init__(Database(engine), policy)

    def close(self) -> None:
        """Close the database."""
        self.database.close()
