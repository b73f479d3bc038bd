"""What happens to cases, told to every open page from one look at the audit a second, whichever process did it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from review.case import AuditEntry
from review.case_store import CaseStore
from review.web.off_loop import OffLoop

EVERY_S = 1.0
BATCH_LIMIT = 500
QUEUE_LIMIT = 20
LISTENERS_LIMIT = 500
BEHIND_LIMIT = 2000
"""Deeds that a page which comes back is told one by one; after more it reads everything again."""
UNDERWAY_LIMIT = 200

logger = logging.getLogger(__name__)


class News(NamedTuple):
    """One thing that happened to a case: a deed of the audit, or `arrived`: its verdict's labels are on the topic."""

    number: int
    case_id: str
    deed: str
    by: str | None


Batch = list[News]


class DeedWatch:
    """Looks while somebody listens, and not else. Of one event loop.

    Each listener has a bounded queue; one that does not keep up finds an empty batch there, and should read all again.
    Two transactions of a database may show their numbers in the other order: a deed can be missed, so what pages show
    is read from the store each time and never put together from news.
    """

    def __init__(self, cases: CaseStore, off_loop: OffLoop, every_s: float = EVERY_S) -> None:
        self._cases = cases
        self._off_loop = off_loop
        self._every_s = every_s
        self._listeners: set[asyncio.Queue[Batch]] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen = 0
        self._begun = asyncio.Event()
        self._underway: set[str] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Queue[Batch]]:
        """News from now on: whatever is done once this has begun is told."""
        queue: asyncio.Queue[Batch] = asyncio.Queue(QUEUE_LIMIT)
        self._listeners.add(queue)
        if self._task is None:
            self._begun = asyncio.Event()
            self._task = asyncio.create_task(self._look(self._begun))
        try:
            await self._begun.wait()
            yield queue
        finally:
            self._listeners.discard(queue)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    @property
    def is_full(self) -> bool:
        """Whether as many listen as may."""
        return len(self._listeners) >= LISTENERS_LIMIT

    async def last(self) -> int:
        """The number of the newest deed."""
        return await self._off_loop(self._cases.last_deed)

    async def missed(self, after: int) -> Batch | None:
        """What was done since; None where that is too much to tell, or `after` is of another database."""
        if not 0 <= await self.last() - after <= BEHIND_LIMIT:
            return None
        found = await self._off_loop(self._cases.deeds_after, after, BEHIND_LIMIT)
        return [_news(number, entry) for number, entry in found]

    async def _look(self, begun: asyncio.Event) -> None:
        while True:
            try:
                if not begun.is_set():
                    self._seen = await self.last()
                    begun.set()
                batch = [_news(*one) for one in await self._off_loop(self._cases.deeds_after, self._seen, BATCH_LIMIT)]
                if batch:
                    self._seen = batch[-1].number
                batch += await self._arrived(batch)
                if batch:
                    self._tell(batch)
            except Exception as error:
                # The pages go on with what they show, and the next look may find the database again.
                logger.warning("what happens to cases could not be read: %s", error)
            await asyncio.sleep(self._every_s)

    def _tell(self, batch: Batch) -> None:
        for queue in self._listeners:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait([])
            else:
                queue.put_nowait(batch)

    async def _arrived(self, batch: Batch) -> Batch:
        """Verdicts whose labels have left since the last look."""
        for news in batch:
            if news.deed in ("decided", "reversed") and len(self._underway) < UNDERWAY_LIMIT:
                self._underway.add(news.case_id)
            elif news.deed in ("undone", "reopened"):
                self._underway.discard(news.case_id)
        arrived = []
        for case_id in sorted(self._underway):
            labels = await self._off_loop(self._cases.labels, case_id)
            if not labels.held and not labels.waiting:
                arrived.append(News(self._seen, case_id, "arrived", None))
        self._underway -= {news.case_id for news in arrived}
        return arrived


def _news(number: int, entry: AuditEntry) -> News:
    return News(number, entry.case_id, entry.deed, entry.by)
