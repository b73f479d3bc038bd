"""What a service tells of itself: all of it, in Prometheus's text format, or the few samples that somebody asks for.

To tell all costs as much as some ten scores, most of it for what BentoML counts. The live dashboard wants two dozen
names every other second, and is told these alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from threading import Lock

from scoring.log_metrics import LogFeed
from scoring.metric_table import OF_RECOMMENDING, OF_SCORING
from scoring.metric_text import counts_text, only
from scoring.own_metrics import own_text
from scoring.published import PublishedTogether, ReportFeed
from scoring.readings import only_live_versions
from scoring.tally import Counts

LIMIT_S = 0.8
"""Of one part of the whole: BentoML would refuse all of it after a second."""
LOG_KEPT_S = 5.0
"""How old what Redis said of the log may be where only some samples are asked for."""
REPORTS_KEPT_S = 15.0
"""How old reports may be there, of which the quickest come each minute or so. To read both takes as long as a look."""
TABLE = (*OF_SCORING, *OF_RECOMMENDING)


class Telling:
    """The counts of all processes, the standing of the log and the newest reports.

    `published` is what all `reports` are read from. Any number of threads may ask.
    """

    def __init__(
        self,
        counts: Callable[[], Counts],
        log: LogFeed,
        reports: Sequence[ReportFeed],
        published: PublishedTogether,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._log = log
        self._reports = reports
        self._published = published
        self._clock = clock
        self._reports_lock, self._kept_lock = Lock(), Lock()
        self._kept, self._kept_at_s = "", -REPORTS_KEPT_S

    async def whole(self) -> str:
        """All of it but what BentoML tells. Each part is made in another thread, and left out where it is late."""
        told = await asyncio.gather(*(within(part) for part in (self._counted, self._log.text, self._reported)))
        return "".join(told)

    def some(self, names: Collection[str]) -> str:
        """The samples of these names, without comments. Where Redis hangs it takes a second, once in `LOG_KEPT_S`."""
        counted = counts_text(only_live_versions(self._counts()), TABLE, names)
        return counted + own_text(names) + only(self._log.text(LOG_KEPT_S) + self._kept_reports(), names)

    def close(self) -> None:
        """Close the connections."""
        self._log.close()
        self._published.close()

    def _counted(self) -> str:
        return counts_text(only_live_versions(self._counts()), TABLE)

    def _reported(self) -> str:
        with self._reports_lock:
            self._published.renew()
            return "".join(report.text() for report in self._reports)

    def _kept_reports(self) -> str:
        with self._kept_lock:
            if self._clock() - self._kept_at_s >= REPORTS_KEPT_S:
                self._kept, self._kept_at_s = self._reported(), self._clock()
            return self._kept


async def within(part: Callable[[], str]) -> str:
    """A part of /metrics, made in another thread; nothing where it takes so long that BentoML would refuse all."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(part), LIMIT_S)
    except TimeoutError:
        return ""
