"""When the learner stops itself: one table, each bound with its reason. A change here is a change of who is woken."""

from __future__ import annotations

import msgspec


class GuardBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as a spike of nulls, as a loss that rose, and as worse than a copy that does not learn."""

    block: int = 200
    """Decisions, by event time, whose null shares are judged together. What breaks upstream is noticed within
    two blocks; the scaler goes back by as much."""

    least_blocks: int = 10
    """Before that what is usual is not known, and nothing is a spike."""

    memory_blocks: int = 200
    """How many blocks what is usual is made of, the newest counting most: slow change is followed, not judged."""

    null_change: float = 0.25
    """In share of the decisions, beyond the usual share: a quarter lost what they had."""

    null_odds: float = 12.0
    """And times the usual odds. What is null by nature swings widely: on the handbook's data, a week with 70% fewer
    events takes `merchant_risk_1d` from 38% to 83%, which is 7.7 times the odds, within a day."""

    null_deviations: float = 6.0
    """And in standard deviations of one block from the next, as they were; at least those of independent events."""

    calm_blocks: int = 3
    """So many blocks in a row within the bound end a spike."""

    window: int = 5_000
    """Labels whose losses are kept, at most: what drift and twin are judged by."""

    look_every: int = 500
    """Labels from one look at the losses to the next: a look costs 12 ms."""

    loss_delta: float = 0.0002
    """ADWIN's delta. A tenth of River's default, since windows overlap and are looked at ten times."""

    loss_ratio: float = 2.0
    """Times the mean squared error of before: twice as many frauds are an ordinary week."""

    loss_deviations: float = 5.0
    """And beyond chance by so many standard errors: ADWIN takes labels for independent, frauds come by card."""

    least_labels: int = 500
    """On either side of a comparison; and so many since the twin was made, before it is judged."""

    least_frauds: int = 20
    """Since the twin was made, before it is judged: most of a loss comes from frauds."""

    twin_labels: int = 2_000
    """After so many labels, and `least_frauds`, the twin is made anew; after `window` in any case."""

    twin_ratio: float = 1.05
    """Times the twin's mean log loss: less is not worth waking anybody."""

    twin_deviations: float = 4.0
    """And beyond chance by so many standard errors of the difference, label by label: many looks find none by luck."""

    snapshot_labels: int = 1_000
    """Learned labels from one snapshot to the next."""

    snapshots: int = 20
    """That are kept."""

    spikes: int = 100
    """That are remembered: vectors scored within one teach nothing when their labels come."""
