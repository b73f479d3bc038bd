"""What groups of decisions showed, as sums: of the watcher's file now, or kept from before a promotion."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from scoring.watch_report import GroupFigures
from training.rates import Rate
from training.watch_store import WatchStore

MOMENT_US = 10_000_000
"""Slow decisions come together, when the machine pauses: chance is counted by moments of ten seconds."""


class Group(NamedTuple):
    """Whose decisions: those for which a version was asked, whether it answered or not.

    Scored from `since_us` on and before `until_us`.
    """

    version: str
    since_us: int
    until_us: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a group showed. `p99_us` is of decisions' own time; None without any."""

    version: str
    alerts: Rate
    unanswered: Rate
    precise: Rate
    p99_us: float | None = None

    @property
    def figures(self) -> GroupFigures:
        """For people."""
        return GroupFigures(
            version=self.version,
            events=self.alerts.events,
            entities=self.alerts.clusters,
            alert_rate=self.alerts.share,
            unanswered_rate=self.unanswered.share,
            p99_ms=None if self.p99_us is None else self.p99_us / 1000,
            alerts_labelled=self.precise.events,
            precision=self.precise.share,
        )


def sample(store: WatchStore, group: Group, mature_until_us: int) -> Sample:
    """The sums of a group. Labels count of events up to `mature_until_us`."""
    mature = "alert AND is_fraud IS NOT NULL AND event_time_us <= :mature"
    alerts = _rate(store, group, "alert")
    return Sample(
        version=group.version,
        alerts=alerts,
        unanswered=_rate(store, group, "NOT answered"),
        precise=_rate(store, group, "is_fraud", mature, mature=mature_until_us),
        p99_us=_p99_us(store, group, alerts.events),
    )


def slower_than(store: WatchStore, group: Group, limit_us: float) -> Rate:
    """Which share of a group took longer than this, by moments."""
    return _rate(store, group, "latency_us > :limit", cluster=f"scored_at_us / {MOMENT_US}", limit=limit_us)


def _rate(
    store: WatchStore, group: Group, hit: str, only: str = "TRUE", cluster: str = "entity", **numbers: float
) -> Rate:
    row = store.db.execute(
        "SELECT coalesce(sum(hits), 0), coalesce(sum(events), 0), count(*), coalesce(sum(hits * hits), 0),"
        " coalesce(sum(hits * events), 0), coalesce(sum(events * events), 0) FROM"
        f" (SELECT sum({hit}) AS hits, count(*) AS events FROM decisions WHERE {_CHOSEN} AND {only}"
        f" GROUP BY {cluster})",
        group._asdict() | numbers,
    ).fetchone()
    return Rate(**dict(zip(Rate.__struct_fields__, row, strict=True)))


def _p99_us(store: WatchStore, group: Group, events: int) -> float | None:
    if not events:
        return None
    chosen = f"SELECT latency_us FROM decisions WHERE {_CHOSEN} ORDER BY latency_us LIMIT 1 OFFSET :at"
    return float(store.db.execute(chosen, group._asdict() | {"at": min(events - 1, events * 99 // 100)}).fetchone()[0])


_CHOSEN = "version = :version AND scored_at_us >= :since_us AND scored_at_us < :until_us"
