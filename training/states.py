"""States of a raw table, computed in batch: the files behind Feast's `<view>_state` feature views.

One file for each view: the entity, the state's bytes, and the time of the newest event inside it. `feast materialize`
loads the newest state of each entity; a point-in-time join finds the one that was true at a row's time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features.feature_set import FeatureSet
from features.history import NEVER, History
from features.view import member_hash
from stream.label_feed import LabelFeed
from stream.played import Played
from training.replay import rows_of
from training.state_files import DAY_US, Every, StateFile

LABELS_WAITING = 10_000_000


def arrivals(played: Iterable[Played], until: datetime | None = None) -> Iterator[Any]:
    """Played transactions with the labels that become known between them: the stream as it would have come.

    Labels that become known after the last transaction come only where `until` (not included) lets them.
    """
    feed = LabelFeed(limit=LABELS_WAITING)
    for one in played:
        yield from feed.due(one.transaction.event_timestamp)
        yield one.transaction
        feed.add(one)
    if until is not None:
        yield from feed.due(until - timedelta(microseconds=1))


def write_states(features: FeatureSet, records: Iterable[Any], folder: Path, *, every: Every = "end") -> dict[str, int]:
    """Fold records in the order in which they came, and write each view's states. How many rows, by view.

    Parameters
    ----------
    records
        Of every type that the views are made from, in time order: a record that comes late changes the state of the
        entity's newest time, as if it had been known then. A copy of a recent record changes nothing.
    every
        `end`: the last state of each entity, all that `feast materialize` needs. `day`: the last of each day on which
        something happened. `event`: the state after each event, for exact training frames; events of one entity at
        the same microsecond share one row, since Feast would choose among several at random.

    The files appear whole, after the last record; before that the old ones stay.

    The trap: these states know no offsets of a log (`training.archived_states` writes some that do). A worker that
    reads the same records again adds them again, except those that the primary state remembers; let it begin where
    the records end.
    """
    files = {view.name: StateFile(view, folder) for view in features.views}
    histories: dict[tuple[str, str], History] = {}
    try:
        for record in records:
            identity = member_hash(record.identity)
            for view, value, row, primary in rows_of(features, record):
                history = histories.get((view.name, value))
                if history is None:
                    history = histories[view.name, value] = History(view)
                if primary and history.knows(identity):
                    break
                newest_us = history.newest_us
                if newest_us != NEVER and _period(newest_us, every) != _period(max(newest_us, _time(row)), every):
                    files[view.name].add(value, history.encode(), newest_us)
                history.fold(row)
                if primary:
                    history.remember(identity)
        for (name, value), history in histories.items():
            if history.newest_us != NEVER:
                files[name].add(value, history.encode(), history.newest_us)
        return {name: file.publish() for name, file in files.items()}
    finally:
        for file in files.values():
            file.close()


def _time(row: bytes) -> int:
    return int(struct.unpack_from("<q", row)[0])


def _period(at_us: int, every: Every) -> int:
    match every:
        case "event":
            return at_us
        case "day":
            return at_us // DAY_US
        case "end":
            return 0
