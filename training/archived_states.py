"""States of the archive: what the workers' states were, for `feast materialize` and for point-in-time joins.

The worker's own `Folder` folds the records in the order in which they came. So the states hold the offsets of the log
and the identities of recent records, duplicates count once, and a worker that reads the log from anywhere before the
archive's end goes on as if it had folded them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from features.feature_set import EntityRef, FeatureSet
from features.history import NEVER, History
from features.online_store import MemoryOnlineStore, Replacement
from features.view import View
from features.worker import Folder
from stream.archive import Archive
from stream.arrivals import Arrival, arrivals
from stream.log import Entry, Partition
from training.moments import MomentRows
from training.state_files import DAY_US, Every, StateFile

BATCH = 500
Wanted = Callable[[Any], bool]


class Asked(NamedTuple):
    """One record of which a row is wanted: its time, and the `event_timestamp` at which a join finds its states."""

    record: Any
    at_us: int
    join_us: int


@dataclass
class ArchivedStates:
    """What was read and written. `ends` has the last offset of each partition, by the name of its log."""

    records: int = 0
    repeated: int = 0
    refused: int = 0
    oldest_us: int = -NEVER
    newest_us: int = NEVER
    rows: dict[str, int] = field(default_factory=dict)
    ends: dict[tuple[str, Partition], int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def folded(self) -> int:
        """Records whose effect is in the states; the others were copies, or refused."""
        return self.records - self.repeated - self.refused


def write_archived_states(
    features: FeatureSet,
    archive: Archive,
    folder: Path,
    *,
    every: Every = "end",
    start: date | None = None,
    end: date | None = None,
    wanted: Wanted | None = None,
    on_progress: Callable[[ArchivedStates], None] = lambda found: None,
) -> ArchivedStates:
    """Fold the archive as the workers folded the log, and write each view's states to `<folder>/<view>_state.parquet`.

    Parameters
    ----------
    every
        `end`: the last state of each entity, for `feast materialize`. `day`: the last of each day with events.
        `event`: the states as each record found and left them (`training.moments`), for training frames.
    start, end
        Days, UTC: of each partition the records from the first of day `start` on, until the first of day `end`. Begin
        at least the longest history before what is to be right.
    wanted
        With `event`: rows only for these records; they are in `asked`, in the order in which they came.

    The files appear whole, after the last record. Records without their primary entity, and those older than all
    windows, are `refused`, as the worker refuses them.
    """
    files = {view.name: StateFile(view, folder) for view in features.views}
    try:
        found = _fold(features, arrivals(archive, _topics(features), start=start, end=end), files, every, wanted)
        for progress in found:
            on_progress(progress)
        progress.rows = {name: file.publish() for name, file in files.items()}
        return progress
    finally:
        for file in files.values():
            file.close()


def _topics(features: FeatureSet) -> list[str]:
    return list(dict.fromkeys(view.source.topic for view in features.views))


def _fold(
    features: FeatureSet, stream: Iterator[Arrival], files: dict[str, StateFile], every: Every, wanted: Wanted | None
) -> Iterator[ArchivedStates]:
    """The progress after each batch; the last one is the result."""
    store = _Written()
    folders: dict[str, Folder] = {}
    found = ArchivedStates()
    rows = MomentRows(features, files) if every == "event" else None
    last = _LastOfPeriod(files, DAY_US if every == "day" else None)
    for batch in _batches(stream, 1 if every == "event" else BATCH):
        name = batch[0].log
        folder = folders.get(name)
        if folder is None:
            folder = folders[name] = Folder(store, features.views, name)
        by_partition: dict[Partition, list[Entry]] = {}
        for one in batch:
            by_partition.setdefault(one.partition, []).append(one.entry)
            found.ends[name, one.partition] = one.entry.offset
            found.oldest_us = min(found.oldest_us, one.at_us)
            found.newest_us = max(found.newest_us, one.at_us)
        counted = folder.fold(by_partition)
        found.records += counted.records
        found.repeated += counted.repeated
        found.refused += len(counted.dead)
        written = [
            (next(view for view in features.views if view.name == view_name), replacement.ref.value, state)
            for replacement in store.take()
            for view_name, state in replacement.states.items()
        ]
        if rows is None:
            for view, value, state in written:
                last.put(view, value, state)
        else:
            (one,) = batch
            keep = wanted is None or wanted(one.record)
            join_us = rows.put(one.record, one.at_us, written, keep, is_new=counted.folded > 0)
            if wanted is not None and keep and counted.folded:
                found.asked.append(Asked(one.record, one.at_us, join_us))
        yield found
    (last if rows is None else rows).finish()
    yield found


def _batches(stream: Iterator[Arrival], limit: int) -> Iterator[list[Arrival]]:
    """Up to so many records of one log and one day, so that no state spans two.

    Those of one moment are of one partition: a batch is folded partition by partition, and equal times keep the order
    in which they came.
    """
    batch: list[Arrival] = []
    moments: dict[int, Partition] = {}
    for one in stream:
        if batch and (
            len(batch) == limit
            or one.log != batch[0].log
            or one.at_us // DAY_US != batch[0].at_us // DAY_US
            or moments.get(one.at_us, one.partition) != one.partition
        ):
            yield batch
            batch = []
            moments.clear()
        batch.append(one)
        moments[one.at_us] = one.partition
    if batch:
        yield batch


class _Written(MemoryOnlineStore):
    """A store in memory that tells what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: dict[EntityRef, list[Replacement]] = {}

    def replace(self, replacements: Any) -> list[bool]:
        for replacement in replacements:
            self._latest.setdefault(replacement.ref, []).append(replacement)
        return super().replace(replacements)

    def take(self) -> list[Replacement]:
        """What was written since the last time."""
        found = [one for own in self._latest.values() for one in own]
        self._latest.clear()
        return found


class _LastOfPeriod:
    """The last state of each entity in each period; of all time where there is none."""

    def __init__(self, files: dict[str, StateFile], period_us: int | None) -> None:
        self._files = files
        self._period_us = period_us
        self._held: dict[tuple[str, str], tuple[int, bytes]] = {}

    def put(self, view: View, value: str, state: bytes) -> None:
        newest_us = History.decode(view, state).newest_us
        held = self._held.get((view.name, value))
        if held is not None and self._period_us and held[0] // self._period_us != newest_us // self._period_us:
            self._add(view.name, value, *held)
        self._held[view.name, value] = (newest_us, state)

    def finish(self) -> None:
        for (name, value), held in self._held.items():
            self._add(name, value, *held)

    def _add(self, name: str, value: str, newest_us: int, state: bytes) -> None:
        if newest_us != NEVER:
            self._files[name].add(value, state, newest_us)
