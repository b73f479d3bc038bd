"""What a model is taught with: vectors of a stretch of time with the labels that were known at its end.

Two sources, one shape. A file or the simulator is replayed through the feature engine; an archive has the vectors as
they were served. Both look only at what was known: as somebody would have trained then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import click
import numpy as np

from features.feature_set import FeatureSet
from headrace.source import Source
from stream.archive import Archive
from training.archived_frame import Unlabelled, archived_frame
from training.frame import TrainingFrame
from training.replay import Replay, in_share

SAY_EVERY = 5000
Stage = Callable[[str], None]


class Lessons(Protocol):
    """Frames of rows, with their records. Ask for stretches in the order of time."""

    def span(self) -> tuple[datetime, datetime]:
        """From the first event to the moment after the last."""

    def taught(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """Rows of events in `[begin, end)` of a share of the cards, with the labels that were known at `end`."""

    def later(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """The same of a stretch that follows: what a model is judged by that was taught with the one before."""


@dataclass
class ReplayedLessons:
    """Transactions replayed through the feature engine; `history_days` before the first row fill the histories."""

    features: FeatureSet
    source: Source
    history_days: int = 38
    _replay: Replay | None = field(default=None, init=False, repr=False)

    def span(self) -> tuple[datetime, datetime]:
        """The source's."""
        return self.source.span()

    def taught(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """Replay anew."""
        self._replay = Replay(self.features)
        return self._advance(begin - timedelta(days=self.history_days), begin, end, share, stage)

    def later(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """Replay on from where `taught` ended, which must be `begin`."""
        return self._advance(begin, begin, end, share, stage)

    def _advance(
        self, start: datetime, collect_from: datetime, end: datetime, share: float, stage: Stage
    ) -> TrainingFrame:
        assert self._replay is not None, "ask for what teaches first"
        frame = self._replay.advance(
            self.source.between(start, end),
            collect_from=collect_from,
            share=share,
            on_event=lambda count: stage(f"replayed {count:,} transactions") if count % SAY_EVERY == 0 else None,
            keep_records=True,
        )
        assert frame is not None
        return frame


@dataclass(frozen=True)
class ArchivedLessons:
    """Decisions of an archive with the vectors that were served; events younger than the label delay do not teach."""

    features: FeatureSet
    archive: Archive
    label_delay: timedelta
    unlabelled: Unlabelled = "out"

    def span(self) -> tuple[datetime, datetime]:
        """Whole days (UTC), of the decisions. Raises `ClickException` where there are none."""
        found = self.archive.directory.glob("decisions/date=*/*.parquet")
        days = sorted({path.parent.name.removeprefix("date=") for path in found})
        if not days:
            raise click.ClickException(
                f"there are no decisions in {self.archive.directory}; 'headrace archive' stores them every 5 minutes; "
                "or give --data FILE"
            )
        first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (days[0], days[-1]))
        return first, last + timedelta(days=1)

    def taught(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """What was known at `end`, or at the archive's newest time where that is earlier."""
        return self._frame(begin, end, share, stage)

    def later(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        """Likewise."""
        return self._frame(begin, end, share, stage)

    def _frame(self, begin: datetime, end: datetime, share: float, stage: Stage) -> TrainingFrame:
        frame = archived_frame(
            self.features,
            self.archive,
            label_delay=self.label_delay,
            since=begin,
            until=end,
            as_of=end if end < self.span()[1] else None,
            unlabelled=self.unlabelled,
            on_progress=lambda count: stage(f"read {count:,} decisions of the archive"),
        )
        return frame if share >= 1.0 else frame.where(np.array([in_share(card, share) for card in frame.card]))
