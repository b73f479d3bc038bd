"""What tests of the worker's fold share: a log in lists, stores that fail or race, and a look at what was folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from features.feature_set import EntityRef
from features.fraud import FRAUD
from features.history import History
from features.online_store import MemoryOnlineStore, OnlineStore, Replacement
from features.scan import Scan
from features.view import View
from features.worker import Folder
from stream.log import Entry, Partition, partition_of
from stream.records import Label, Record, encode, from_micros
from tests.oracle import SECOND, T0_US

Batch = dict[Partition, list[Entry]]
PARTITIONS = 2
SCANS = {view.name: Scan(view) for view in FRAUD.views}


class ListLog:
    """A log of two partitions for each topic, as lists."""

    def __init__(self, records: Iterable[Record | bytes] = ()) -> None:
        self.entries: Batch = {
            Partition(topic, n): [] for topic in ("transactions", "labels") for n in range(PARTITIONS)
        }
        for record in records:
            self.append(record)

    def append(self, record: Record | bytes) -> None:
        if isinstance(record, bytes):
            key, value, topic = "?", record, "transactions"
        else:
            key, value, topic = record.key, encode(record), record.topic
        entries = self.entries[Partition(topic, partition_of(key, PARTITIONS))]
        # Offsets grow but need not be consecutive.
        entries.append(Entry(3 * len(entries), key, value))

    def all(self) -> Batch:
        return self.poll({}, 1 << 30)

    def poll(self, committed: dict[Partition, int], limit: int) -> Batch:
        """The next entries of every partition."""
        left = {
            partition: [entry for entry in entries if entry.offset >= committed.get(partition, 0)][:limit]
            for partition, entries in self.entries.items()
        }
        return {partition: entries for partition, entries in left.items() if entries}


def folder(store: OnlineStore) -> Folder:
    return Folder(store, FRAUD.views, "log")


def label(number: int, verdict: Any = "fraud", **fields: Any) -> Label:
    at = from_micros(T0_US + number * SECOND)
    options: dict[str, Any] = {"event_timestamp": at, "labelled_at": at, "merchant_id": "m", "card_id": "c"}
    return Label(event_id=f"e{number}", label=verdict, **options | fields)


def history(store: OnlineStore, view: View, value: str) -> History:
    (entity,) = store.read([EntityRef(view.entity, value)])
    return History.decode(view, entity.states.get(view.name))


def feature(store: OnlineStore, name: str, value: str, at_us: int) -> float:
    view = next(view for view in FRAUD.views if name in view.names)
    values, _ = SCANS[view.name].read(history(store, view, value), at_us)
    return float(values[view.names.index(name)])


class Crash(Exception):
    pass


class Unreliable(MemoryOnlineStore):
    """A store whose client dies after some writes of single entities."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = 1 << 30

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        done = []
        for replacement in replacements:
            if self.writes_left == 0:
                raise Crash
            self.writes_left -= 1
            done += super().replace([replacement])
        return done


class Raced(MemoryOnlineStore):
    """A store in which somebody else acts between a worker's read and its write."""

    def __init__(self) -> None:
        super().__init__()
        self.rivals: list[Callable[[], Any]] = []

    def replace(self, replacements: Sequence[Replacement]) -> list[bool]:
        if self.rivals:
            self.rivals.pop()()
        return super().replace(replacements)
