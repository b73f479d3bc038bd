"""The bench of the batch executor runs from nothing but the simulator."""

from __future__ import annotations

from bench.batch import measure


def test_both_feature_sets_are_measured_both_ways() -> None:
    figures = measure(days=2, with_file=False)
    assert len(figures) == 4
    assert all(figure.value > 0 and figure.unit == "events/s" for figure in figures.values())
    assert [figure.budget for figure in figures.values()] == [200_000.0, 200_000.0, None, None]
