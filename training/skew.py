"""The skew check: are the features that were served the features that training would compute?

Twice over the archive, day by day:

1. In event-time order, as training replays: each sampled decision's vector is computed again, and compared with the
   one that was served.
2. For the decisions that differ: from what had arrived when they were made. What is then equal differs only because
   something came late: nobody could have served it. What differs still is a defect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.feature_set import FeatureSet, Vector, ViewRead
from features.history import History
from features.view import View, member_hash
from scoring.skew_report import Example, FeatureSkew, SkewReport
from stream.archive import Archive, ArchiveFile, entries
from stream.arrivals import REDIS_LOG
from stream.log import Entry, Partition
from stream.records import Decision, Label, Transaction, decode, micros
from stream.redis_keys import SEQUENCE_BITS, SEQUENCE_LIMIT
from training.replay import in_share, rows_of

UNSURE_US = 1_000_000
"""Events that arrived this close to a decision may have been seen by it, or not."""
EXAMPLE_LIMIT = 50
RELATIVE, ABSOLUTE = 1e-6, 1e-9
Floats = NDArray[np.float64]


class _Arrived(NamedTuple):
    at_us: int
    arrived_us: int
    record: Any


class _Row(NamedTuple):
    arrived_us: int
    identity: int
    row: bytes


class _Suspect(NamedTuple):
    decision: Decision
    arrived_us: int
    differs: NDArray[np.bool_]


@dataclass
class SkewCheck:
    """One check of one feature set over one archive.

    Parameters
    ----------
    share
        Of the cards, chosen by a hash of their ids.
    since
        Decisions before are not compared: for histories that began before the archive did.
    days
        Likewise all but the newest so many days of decisions: for a check that comes often. Of what lies a longest
        history further back, nothing is read.
    """

    features: FeatureSet
    archive: Archive
    share: float = 0.1
    since: datetime | None = None
    on_day: Callable[[str, date], None] = lambda stage, day: None
    days: int | None = None
    _entities: dict[tuple[str, str], History] = field(default_factory=dict)

    def run(self) -> SkewReport:
        """Both passes."""
        started = time.monotonic()
        self._set_beginning()
        report = SkewReport(
            self.features.name,
            self.features.definition_hash,
            self.share,
            decisions=0,
            compared=0,
            skipped={},
            features={name: FeatureSkew() for name in self.features.names},
            examples=[],
        )
        suspects = self._compare(report)
        if suspects:
            rows = self._rows_of(suspects)
            for suspect in suspects:
                self._judge(suspect, rows, report)
        report.checked_at, report.took_s = datetime.now(UTC), time.monotonic() - started
        return report

    def _set_beginning(self) -> None:
        newest = max((file.day for file in self.archive.files(Decision.topic)), default=None)
        if self.days is not None and newest is not None:
            first = datetime.combine(newest - timedelta(days=self.days - 1), datetime.min.time(), UTC)
            self.since = first if self.since is None else max(first, self.since)

    def _compare(self, report: SkewReport) -> list[_Suspect]:
        suspects: list[_Suspect] = []
        for day, arrived, decisions in self._days():
            self.on_day("comparing", day)
            wanted = self._wanted(decisions, report)
            for one in arrived:
                decision = wanted.pop(one.record.event_id, None) if isinstance(one.record, Transaction) else None
                if decision is not None:
                    expected = self.features.vector(one.record, self._reads(one.record))
                    differs = self._differences(decision, expected, report)
                    if differs.any():
                        suspects.append(_Suspect(decision, one.arrived_us, differs))
                for view, value, row, _ in rows_of(self.features, one.record):
                    self._history(view, value).fold(row)
            if wanted:
                _skip(report, "its record is not archived", len(wanted))
        self._entities.clear()
        return suspects

    def _wanted(self, decisions: dict[str, Decision], report: SkewReport) -> dict[str, Decision]:
        wanted: dict[str, Decision] = {}
        for event_id, decision in decisions.items():
            if not in_share(decision.record.card_id, self.share):
                continue
            report.decisions += 1
            if decision.definition_hash != self.features.definition_hash:
                _skip(report, "another definition of the features")
            elif "online store" in decision.degraded:
                _skip(report, "scored without the online store")
            elif self.since is not None and decision.event_timestamp < self.since:
                _skip(report, "before the beginning")
            else:
                wanted[event_id] = decision
        return wanted

    def _differences(self, decision: Decision, expected: Vector, report: SkewReport) -> NDArray[np.bool_]:
        report.compared += 1
        inexact = {*decision.approximate, *expected.approximate}
        differs = ~_close(_served(decision), expected.values)
        for position, name in enumerate(self.features.names):
            if name in inexact:
                report.features[name].approximate += 1
                differs[position] = False
            else:
                report.features[name].compared += 1
        return differs

    def _rows_of(self, suspects: list[_Suspect]) -> dict[tuple[str, str], list[_Row]]:
        """All rows of the entities of these decisions, in the order in which they arrived."""
        rows: dict[tuple[str, str], list[_Row]] = {
            (view.name, value): []
            for suspect in suspects
            for view in self.features.views
            if (value := getattr(suspect.decision.record, view.entity)) is not None
        }
        last = max(suspect.decision.event_timestamp for suspect in suspects).date()
        for day, arrived, _ in self._days():
            # Later days too: an event may have arrived before a decision that its clock puts before it.
            if (day - last).days > 1:
                break
            self.on_day("looking for late arrivals", day)
            for one in arrived:
                for view, value, row, _ in rows_of(self.features, one.record):
                    if (view.name, value) in rows:
                        rows[view.name, value].append(_Row(one.arrived_us, member_hash(one.record.identity), row))
        for own in rows.values():
            own.sort(key=lambda row: row.arrived_us)
        return rows

    def _judge(self, suspect: _Suspect, rows: dict[tuple[str, str], list[_Row]], report: SkewReport) -> None:
        record = suspect.decision.record
        served = _served(suspect.decision)
        reads: dict[str, ViewRead] = {}
        begin = 0
        for view in self.features.views:
            part = slice(begin, begin + len(view.features))
            begin = part.stop
            value = getattr(record, view.entity)
            if value is not None:
                reads[view.name] = ViewRead(self._as_seen(view, rows[view.name, value], suspect, served, part), [])
        seen = self.features.vector(record, reads).values
        explained = _close(served, seen)
        for position in np.flatnonzero(suspect.differs):
            name = self.features.names[position]
            if explained[position]:
                report.features[name].late += 1
                continue
            report.features[name].defects += 1
            if len(report.examples) < EXAMPLE_LIMIT:
                values = (_known(served[position]), _known(seen[position]))
                report.examples.append(Example(record.event_id, name, *values))

    def _as_seen(self, view: View, rows: list[_Row], suspect: _Suspect, served: Floats, part: slice) -> History:
        """The history from what had arrived. Of what arrived in the same moment, as much as gives what was served."""
        record = suspect.decision.record
        own = member_hash(record.identity)
        history = History(view)
        by_arrival: bytes | None = None
        for row in rows:
            if row.arrived_us > suspect.arrived_us + UNSURE_US:
                break
            if row.identity == own:
                continue
            if row.arrived_us >= suspect.arrived_us - UNSURE_US and self._gives(view, history, record, served, part):
                return history
            if row.arrived_us > suspect.arrived_us and by_arrival is None:
                by_arrival = history.encode()
            history.fold(row.row)
        if by_arrival is None or self._gives(view, history, record, served, part):
            return history
        return History.decode(view, by_arrival)

    def _gives(self, view: View, history: History, record: Any, served: Floats, part: slice) -> bool:
        values = self.features.vector(record, {view.name: ViewRead(history, [])}).values
        return bool(_close(served[part], values[part]).all())

    def _days(self) -> Iterator[tuple[date, list[_Arrived], dict[str, Decision]]]:
        """Each day's records in the order of their times, copies left out, and its decisions by event."""
        files: dict[date, dict[tuple[str, Partition], list[ArchiveFile]]] = {}
        topics = (Transaction.topic, Label.topic, Decision.topic)
        longest = timedelta(microseconds=max(view.horizon_us for view in self.features.views))
        begin = None if self.since is None else (self.since - longest).date()
        for key, own in self.archive.sources(topics).items():
            for file in own:
                if begin is None or file.day >= begin:
                    files.setdefault(file.day, {}).setdefault(key, []).append(file)
        for day in sorted(files):
            decisions: dict[str, Decision] = {}
            for (_, partition), own in files[day].items():
                if partition.topic == Decision.topic:
                    for entry in entries(own):
                        decision: Decision = decode(entry.value, Decision)
                        if decision.use_case == self.features.name:
                            decisions.setdefault(decision.event_id, decision)
            copies: dict[str, _Arrived] = {}
            for (log_name, partition), own in files[day].items():
                if partition.topic != Decision.topic:
                    for one in _arrivals(log_name, partition, entries(own), decisions):
                        first = copies.get(one.record.topic + one.record.identity)
                        if first is None or one.arrived_us < first.arrived_us:
                            copies[one.record.topic + one.record.identity] = one
            yield day, sorted(copies.values(), key=lambda one: one[:2]), decisions

    def _history(self, view: View, value: str) -> History:
        history = self._entities.get((view.name, value))
        if history is None:
            history = self._entities[view.name, value] = History(view)
        return history

    def _reads(self, record: Any) -> dict[str, ViewRead]:
        return {
            view.name: ViewRead(self._entities.get((view.name, value)) or History(view), [])
            for view in self.features.views
            if (value := getattr(record, view.entity)) is not None
        }


def _arrivals(
    log_name: str, partition: Partition, found: Iterator[Entry], decisions: dict[str, Decision]
) -> Iterator[_Arrived]:
    """When each record arrived: a Redis log's offsets say it; elsewhere its decision does, or the one before it."""
    arrived_us = 0
    for entry in found:
        record: Any = decode(entry.value, Label if partition.topic == Label.topic else Transaction)
        at_us = micros(record.labelled_at if isinstance(record, Label) else record.event_timestamp)
        if log_name == REDIS_LOG:
            arrived_us = (entry.offset >> SEQUENCE_BITS) * 1000 + min(entry.offset & (SEQUENCE_LIMIT - 1), 999)
        elif isinstance(record, Label):
            arrived_us = at_us
        elif record.event_id in decisions:
            arrived_us = max(arrived_us, micros(decisions[record.event_id].scored_at))
        yield _Arrived(at_us, arrived_us, record)


def _served(decision: Decision) -> Floats:
    return np.array([np.nan if value is None else value for value in decision.vector], dtype=np.float64)


def _close(one: Floats, other: Floats) -> NDArray[np.bool_]:
    return np.isclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _skip(report: SkewReport, why: str, count: int = 1) -> None:
    report.skipped[why] = report.skipped.get(why, 0) + count
