"""The bands of a canary, and of a champion that is new: one table, each with its reason."""

from __future__ import annotations

import msgspec


class WatchBounds(msgspec.Struct, frozen=True, kw_only=True):
    """A band is left when a figure is far off and cannot be chance: size alone would trip over a few events,
    significance alone over nothing, once there are a million."""

    chance: float = 1e-4
    """Of a false alarm in one look at one figure, both sides. Looks repeat every few seconds for days, at nearly the
    same events: all together are worth some hundred, so that by chance alone one canary in a hundred would fall."""

    least_events: int = 300
    """Of each group. Fewer do not show a rate of one in a hundred."""

    least_entities: int = 50
    """Of each group. One card's episode is many alerts: intervals are by card, and need several."""

    alert_ratio: float = 1.5
    """Half as many alerts more, or a third fewer. More cost analysts their day and customers their payment, fewer let
    frauds through; a model that is better than another differs by less."""

    alert_points: float = 0.002
    """And two events in a thousand at least: below it a ratio is of nothing."""

    unanswered_points: float = 0.01
    """One event in a hundred more without a number of the model: the others answer, and worse."""

    latency_ratio: float = 1.5
    """Times the other group's p99 of a decision's own time."""

    latency_floor_us: float = 1000.0
    """And a millisecond at least: a pause of the machine is as long."""

    latency_share: float = 0.01
    """What a p99 is: the share of events above the limit that is in order."""

    least_alerts_labelled: int = 30
    """Alerts with mature labels, of each group: below it a precision is a guess."""

    precision_ratio: float = 0.7
    """A third more false alarms among the alerts. Of frauds that it missed the alert rate tells, labels too late."""


CANARY = WatchBounds()
"""Two groups at the same time."""

PROMOTED = WatchBounds(alert_ratio=2.0, latency_ratio=2.0)
"""Before and after: nights, weekends and load are in the difference too, so it takes more of it."""
