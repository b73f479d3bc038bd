"""`headrace bench NAME`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import (
    features,
    gate,
    handbook,
    handbook_features,
    learning,
    pages_cost,
    recommend,
    review_queue,
    rules,
    scoring,
    scrape_cost,
    soak,
)
from bench.figures import Figures, show, write

BENCHES: dict[str, Callable[[], Figures]] = {
    "scoring": scoring.measure,
    "features": features.measure,
    "rules": rules.measure,
    "gate": gate.measure,
    "handbook": handbook.measure,
    "handbook-features": handbook_features.measure,
    "soak": soak.measure,
    "learning": learning.measure,
    "recommend": recommend.measure,
    "review-queue": review_queue.measure,
    "pages": pages_cost.measure,
    "scrape": scrape_cost.measure,
}
VERDICTS = frozenset({"soak"})
"""Benches whose budgets are promises."""


def run_bench(name: str, json_file: Path | None) -> int:
    """Run one bench. The exit status is 0 also where a budget is missed: a figure is a fact, not a verdict.

    But for `VERDICTS`: there it is 1.
    """
    if name not in BENCHES:
        raise SystemExit(f"there is no bench {name!r}; there is {', '.join(BENCHES)}")
    figures = BENCHES[name]()
    show(f"headrace bench {name}", figures)
    if json_file is not None:
        write(json_file, name, figures)
    return status(name, figures)


def status(name: str, figures: Figures) -> int:
    """The exit status of a bench that came to these figures."""
    return int(name in VERDICTS and any(figure.meets_budget is False for figure in figures.values()))
