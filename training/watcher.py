"""The watcher: keeps what others would have decided, holds canaries and new champions against their bands, acts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from models.aliases import AliasMoved
from models.registry import ModelNotFound, Registry
from scoring.use_case import UseCase
from scoring.watch_report import Watched, WatchReport
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Partition
from stream.records import Decision, Label, decode, micros
from training.metrics import DAY_US
from training.shadow import Shadows
from training.watch_comparison import compare
from training.watch_store import WatchStore
from training.watched_groups import (
    BY,
    Clock,
    Spans,
    keep_before,
    rollbacks,
    was_rolled_back,
    watch_canary,
    watch_promoted,
)

_log = logging.getLogger(__name__)


class Keeps(msgspec.Struct, frozen=True, kw_only=True):
    """How much the watcher keeps: what lies so far behind the newest event, and the newest so many."""

    max_age_us: int = 30 * DAY_US
    decisions: int = 500_000
    early: int = 100_000


class Watcher:
    """Applies decisions and labels, each once, whatever is repeated or out of turn. Not safe under concurrent use.

    Opinions, labels and offsets are one transaction of the file. Aliases are moved by compare-and-append: of two
    watchers, or a watcher and a person, one moves, and the other looks again.

    Parameters
    ----------
    acts
        Whether it may roll back, or only says what it would.
    """

    def __init__(
        self,
        use_case: UseCase,
        store: WatchStore,
        registry: Registry,
        shadows: Shadows,
        spans: Spans,
        *,
        acts: bool = True,
        keeps: Keeps | None = None,
    ) -> None:
        self._use_case = use_case
        self._store = store
        self._registry = registry
        self._shadows = shadows
        self._spans = spans
        self._acts = acts
        self._keeps = Keeps() if keeps is None else keeps
        self._offsets = store.offsets()
        self._said: set[str] = set()

    def offset(self, log_name: str, partition: Partition) -> int:
        """Where to go on in this partition; 0 if nothing of it was applied."""
        return self._offsets.get((log_name, partition), 0)

    def rewind(self, log_name: str, partition: Partition) -> None:
        """Go on from the oldest entry of a partition: what is kept is known by its ids."""
        with self._store.transaction():
            self._store.save_offsets(log_name, {partition: 0})
        self._offsets[log_name, partition] = 0

    def take_in(self, polled: Mapping[Partition, Sequence[Entry]], log_name: str) -> None:
        """Apply what lies at or after each partition's own offset, as one transaction.

        What cannot be read is passed over: the learner makes dead letters of it. Raises `sqlite3.OperationalError` when
        the file cannot be written.
        """
        decisions: list[Decision] = []
        labels: list[Label] = []
        offsets: dict[Partition, int] = {}
        for partition in sorted(polled):
            start = self.offset(log_name, partition)
            for entry in polled[partition]:
                if entry.offset < start:
                    continue
                offsets[partition] = entry.offset + 1
                try:
                    if partition.topic == Label.topic:
                        labels.append(decode(entry.value, Label))
                    else:
                        decisions.append(decode(entry.value, Decision))
                except InvalidRecord as error:
                    _log.warning("the watcher passes over entry %d of %s: %s", entry.offset, partition, error)
        self._shadows.refresh()
        with self._store.transaction():
            # 1. Decisions.  2. Labels.  3. Bounds.  4. Offsets, in the same transaction: a crash leaves all or nothing.
            self._keep([decision for decision in decisions if decision.use_case == self._use_case.name])
            for label in labels:
                if label.label != "unknown":
                    self._store.label(label.event_id, label.label == "fraud", micros(label.labelled_at))
            newest = self._store.newest_us()
            if newest is not None:
                self._store.forget(newest[0] - self._keeps.max_age_us, self._keeps.decisions, self._keeps.early)
            self._store.save_offsets(log_name, offsets)
        self._offsets.update({(log_name, partition): offset for partition, offset in offsets.items()})

    def look(self, now: datetime) -> WatchReport:
        """Hold what is watched against its bands, roll back what has left them, and say all of it."""
        self._shadows.refresh()
        name, newest = self._use_case.name, self._store.newest_us()
        if newest is not None:
            keep_before(self._store, name, self._registry.history(name), Clock(*newest), self._spans)
        watched = self.watched()
        for one in watched:
            if one.out:
                self._roll_back(one)
        return self.report(now, watched)

    def watched(self) -> list[Watched]:
        """What is under watch now, with what the bands say. Changes nothing."""
        newest = self._store.newest_us()
        if newest is None:
            return []
        name, changes = self._use_case.name, self._registry.history(self._use_case.name)
        held = (
            watch(self._store, name, changes, Clock(*newest), self._spans) for watch in (watch_canary, watch_promoted)
        )
        return [one for one in held if one is not None]

    def report(self, now: datetime, watched: Sequence[Watched]) -> WatchReport:
        """All that is known. Changes nothing."""
        name, registry = self._use_case.name, self._registry
        newest, champion, canary = (
            self._store.newest_us(),
            registry.aliases(name).get("champion"),
            registry.canary(name),
        )
        mature_us = 0 if newest is None else newest[0] - self._spans.label_delay_us
        taken_back = rollbacks(name, registry.history(name))
        found = [compare(self._store, version, champion, mature_us) for version in self._shadows.versions() if champion]
        counts = {alias: sum(one.alias == alias for one in taken_back) for alias in ("canary", "champion")}
        return WatchReport(
            use_case=name,
            made_at=now,
            champion=champion,
            canary=None if canary is None else canary.version,
            canary_share=0 if canary is None else canary.share,
            acts=self._acts,
            decisions=self._store.count(),
            comparisons=[one for one in found if one is not None],
            skipped=self._store.skipped(),
            watched=list(watched),
            rollbacks=counts,
            last_rollback=taken_back[-1] if taken_back else None,
            problems=dict(self._shadows.problems),
        )

    def _keep(self, decisions: Sequence[Decision]) -> None:
        # What is there already is not scored again, nor counted as skipped again.
        new = [
            one
            for one in {one.event_id: one for one in reversed(decisions)}.values()
            if not self._store.has(one.event_id)
        ]
        if not new:
            return
        found = self._shadows.score(new[::-1])
        for served, opinions in found.decisions:
            self._store.add(served, opinions)
        for (version, why), count in found.skipped.items():
            self._store.skip(version, why, count)

    def _roll_back(self, watched: Watched) -> None:
        name, why = self._use_case.name, "; ".join(one.says for one in watched.out)
        subject = f"the {watched.alias} {watched.version} of {name}"
        if not self._acts:
            return self._say(f"{subject} has left its band and stays, since rollback is off: {why}")
        try:
            if watched.alias == "canary":
                self._registry.alias(name, "canary", None, watched.version, by=BY, why=why)
                return _log.warning("%s ends, the champion answers for all: %s", subject, why)
            changes = self._registry.history(name)
            if was_rolled_back(name, changes, watched.version):
                return self._say(
                    f"{subject} has left its band again and stays, since a person promoted it again: {why}"
                )
            before = self._registry.manifest(name, self._registry.before(name))
            if before.definition_hash != self._use_case.features.definition_hash:
                return self._say(f"{subject} has left its band, and {before.version} is of other features: {why}")
            version = self._registry.rollback(name, watched.version, by=BY, why=why)
            return _log.warning("%s ends, %s is champion again: %s", subject, version, why)
        except AliasMoved as error:
            return _log.info("%s moved meanwhile: %s", subject, error)
        except (ModelNotFound, OSError, ValueError) as error:  # ValueError: a manifest that is none
            return self._say(f"{subject} has left its band and cannot be rolled back: {error}: {why}")

    def _say(self, text: str) -> None:
        # Once: a look comes every few seconds, and its figures change each time.
        subject = text.split(": ", 1)[0]
        if subject not in self._said:
            self._said.add(subject)
            _log.warning("%s", text)
