"""How far two shares differ by chance, where events come in clusters."""

from __future__ import annotations

import numpy as np
import pytest

from training.rates import Rate, deviations, deviations_from

ROUNDS = 500


def rate(hits: list[int], events: list[int]) -> Rate:
    pairs = list(zip(hits, events, strict=True))
    return Rate(
        hits=sum(hits),
        events=sum(events),
        clusters=len(hits),
        hits_squared=sum(a * a for a in hits),
        hits_events=sum(a * n for a, n in pairs),
        events_squared=sum(n * n for n in events),
    )


def test_equal_groups_of_cards_with_episodes_differ_as_often_as_chance_says() -> None:
    """One card's alerts come together: counted one by one, every tenth pair of equal groups would be far apart."""
    rng = np.random.default_rng(0)
    far, far_one_by_one = 0, 0
    for _ in range(ROUNDS):
        groups = []
        for cards in (150, 450):
            events = rng.integers(5, 15, cards)
            hits = np.where(rng.random(cards) < 0.05, rng.binomial(events, 0.8), 0)
            groups.append(rate(hits.tolist(), events.tolist()))
        far += abs(deviations(*groups)) > 1.96
        alone = [
            Rate(
                hits=one.hits,
                events=one.events,
                clusters=one.events,
                hits_squared=one.hits,
                hits_events=one.hits,
                events_squared=one.events,
            )
            for one in groups
        ]
        far_one_by_one += abs(deviations(*alone)) > 1.96
    assert far / ROUNDS == pytest.approx(0.05, abs=0.035)
    assert far_one_by_one / ROUNDS > 0.2


def test_one_event_a_card_is_the_usual_test_of_two_proportions() -> None:
    one, other = rate([1] * 60 + [0] * 940, [1] * 1000), rate([1] * 40 + [0] * 960, [1] * 1000)
    assert deviations(one, other) == pytest.approx(0.02 / np.sqrt(0.05 * 0.95 * 2 / 1000), rel=0.1)
    assert deviations_from(one, 0.06) == 0.0


def test_where_nothing_or_everything_hits_nothing_differs() -> None:
    nothing, everything = rate([0] * 10, [1] * 10), rate([1] * 10, [1] * 10)
    assert deviations(nothing, nothing) == deviations(everything, everything) == 0.0
    assert Rate().share is None
