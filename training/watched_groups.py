"""Which groups of decisions are held against each other now: by the alias log and the clock of the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from models.aliases import PROMOTED as BECAME_CHAMPION
from models.aliases import Alias, AliasChange, canary_of, champions
from scoring.watch_report import LastRollback, Watched
from stream.records import from_micros, micros
from training.watch_bounds import CANARY, PROMOTED, WatchBounds
from training.watch_sample import Group, Sample, sample, slower_than
from training.watch_store import WatchStore
from training.watch_verdict import judge, latency_limit_us

BY = "headrace"
"""Who rolls back where no person does."""
CHAMPIONS_OF_A_PROMOTION = 2


class Spans(NamedTuple):
    """How long a new champion is watched, and how old an event is when its label counts as final."""

    promotion_us: int
    label_delay_us: int


class Clock(NamedTuple):
    """The latest event time and the latest time of scoring that are kept: what is mature follows from the log alone."""

    event_us: int
    scored_us: int


def watch_canary(
    store: WatchStore,
    name: str,
    changes: Sequence[AliasChange],
    clock: Clock,
    spans: Spans,
    bounds: WatchBounds = CANARY,
) -> Watched | None:
    """The canary against the champion since it began, or since there has been this champion; None without either."""
    canary, promoted = canary_of(changes, name), _promotion(name, changes)
    if canary is None or promoted is None or promoted.version is None:
        return None
    since_us = max(micros(canary.since), micros(promoted.at))
    end_us, mature_us = clock.scored_us + 1, clock.event_us - spans.label_delay_us
    its = Group(canary.version, since_us, end_us)
    others = sample(store, Group(promoted.version, since_us, end_us), mature_us)
    return _held(store, "canary", its, others, mature_us, bounds)


def watch_promoted(
    store: WatchStore,
    name: str,
    changes: Sequence[AliasChange],
    clock: Clock,
    spans: Spans,
    bounds: WatchBounds = PROMOTED,
) -> Watched | None:
    """A champion that is new against the one before it; None after the time for which it is watched. Only reads.

    Events of the time after the promotion are judged, and waited for until their labels are mature.
    """
    promotion = _watched_promotion(name, changes, clock, spans)
    if promotion is None:
        return None
    mature_us = clock.event_us - spans.label_delay_us
    return _held(store, "champion", promotion.its, _before(store, promotion, mature_us), mature_us, bounds)


def keep_before(store: WatchStore, name: str, changes: Sequence[AliasChange], clock: Clock, spans: Spans) -> None:
    """Keep what the champion before a new one showed, with the labels that mature meanwhile, for when it is gone.

    For the watcher itself, as one transaction: whoever else asks may have other spans.
    """
    promotion = _watched_promotion(name, changes, clock, spans)
    if promotion is None:
        return
    with store.transaction():
        before = msgspec.json.encode(_before(store, promotion, clock.event_us - spans.label_delay_us))
        if before != store.before(*promotion.key):
            store.keep_before(*promotion.key, before)


def was_rolled_back(name: str, changes: Sequence[AliasChange], version: str) -> bool:
    """Whether this champion was rolled back without a person before: who promotes it again has been told."""
    present: str | None = None
    for change in changes:
        if (change.name, change.alias) != (name, "champion"):
            continue
        if change.rollback and change.by == BY and present == version:
            return True
        present = change.version
    return False


def rollbacks(name: str, changes: Sequence[AliasChange]) -> list[LastRollback]:
    """What was taken back without a person, oldest first."""
    found: list[LastRollback] = []
    present: dict[Alias, str | None] = {}
    for change in changes:
        if change.name != name:
            continue
        is_one = change.rollback or (
            change.alias == "canary" and change.version is None and change.why != BECAME_CHAMPION
        )
        if is_one and change.by == BY and (before := present.get(change.alias)) is not None:
            found.append(LastRollback(change.at, change.alias, before, change.why))
        present[change.alias] = change.version
    return found


class _Promotion(NamedTuple):
    """A new champion, and the one before it."""

    its: Group
    before: Group

    @property
    def key(self) -> tuple[str, int]:
        """What is kept of the one before is kept under the new one and when it became champion."""
        return self.its.version, self.its.since_us


def _watched_promotion(name: str, changes: Sequence[AliasChange], clock: Clock, spans: Spans) -> _Promotion | None:
    promoted, every = _promotion(name, changes), champions(changes, name)
    if promoted is None or promoted.version is None or promoted.rollback or len(every) < CHAMPIONS_OF_A_PROMOTION:
        return None
    at_us = micros(promoted.at)
    end_us = at_us + spans.promotion_us
    if not at_us <= clock.scored_us < end_us + spans.label_delay_us:
        return None
    return _Promotion(Group(promoted.version, at_us, end_us), Group(every[-2], at_us - spans.promotion_us, at_us))


def _before(store: WatchStore, promotion: _Promotion, mature_us: int) -> Sample:
    """What is there, or what was kept if that is more: then some of its decisions are gone."""
    found = sample(store, promotion.before, mature_us)
    content = store.before(*promotion.key)
    kept = found if content is None else msgspec.json.decode(content, type=Sample)
    return kept if kept.alerts.events > found.alerts.events else found


def _held(store: WatchStore, alias: str, group: Group, others: Sample, mature_us: int, bounds: WatchBounds) -> Watched:
    its = sample(store, group, mature_us)
    limit_us = latency_limit_us(others, bounds)
    slow = slower_than(store, group, limit_us)
    return Watched(
        alias=alias,
        version=group.version,
        against=others.version,
        since=from_micros(group.since_us),
        its=its.figures,
        others=others.figures,
        findings=judge(its, others, slow, limit_us, bounds),
    )


def _promotion(name: str, changes: Sequence[AliasChange]) -> AliasChange | None:
    """The change by which the present champion became champion."""
    found = [change for change in changes if (change.name, change.alias) == (name, "champion")]
    while len(found) > 1 and found[-1].version == found[-2].version:
        found.pop()
    return found[-1] if found else None
