"""Recommendations: how good, beside published tables, baselines and a peer, and how fast.

A. Retrieval and the full ranker on the 75/25 split of MovieLens 100K (`bench/recommend_split.py`).
B. Recommending while learning, in the order of time (`bench/recommend_prequential.py`).
C. Predicting ratings while learning (`bench/recommend_rating.py`).
D. What logged propensities say of other policies, beside the known answer (`bench/recommend_off_policy.py`).
E. Latency in process and over HTTP, at 10,000 and 100,000 items (`bench/recommend_latency.py`).
F. Gorse on the same split, where it can be built (`bench/gorse_peer.py`).

With `HEADRACE_BENCH_INTERACTIONS=FILE`, B runs on that file instead, and nothing else: any CSV or Parquet file with a
user, an item and a time in each row.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from bench import gorse_peer, recommend_timing
from bench.figures import Figure, Figures
from bench.movielens import RankingMetrics, load, source
from bench.recommend_off_policy import TARGETS
from bench.recommend_off_policy import measure as off_policy
from bench.recommend_prequential import of_file, prequential_figures, stream_figures
from bench.recommend_rating import rating_figures
from bench.recommend_split import PUBLISHED, run

FILE = "HEADRACE_BENCH_INTERACTIONS"
RETRIEVAL, RANKER, PEER = "ours: retrieval", "ours: full ranker", "BiVAE"


def measure() -> Figures:
    """All figures. Takes some ten minutes; exits at once where the ratings are absent."""
    if file := os.environ.get(FILE):
        return stream_figures(f"B, {Path(file).name}", of_file(Path(file)), _say)
    ratings = load(source())
    _say("A: the split")
    figures = split_figures(run(ratings))
    figures |= prequential_figures(ratings, _say)
    _say("C: ratings")
    figures |= rating_figures(ratings)
    _say("D: off-policy estimates")
    figures |= off_policy_figures()
    _say("E: latency")
    figures |= recommend_timing.measure(say=_say)
    _say("F: Gorse")
    return figures | gorse_peer.measure()


def split_figures(found: list[tuple[str, RankingMetrics]]) -> Figures:
    """Protocol A: the published table, then ours; retrieval has to be level with BiVAE, the ranker above retrieval."""
    figures: Figures = {}
    for name, (_, ndcg, precision, recall) in PUBLISHED.items():
        note = f"P {precision:.4f}, R {recall:.4f}"
        figures[f"A: nDCG@10, {name}, published"] = Figure(ndcg, "nDCG", None, "higher", note)
    measured = dict(found)
    for name, metrics in measured.items():
        note = f"MAP {metrics.map:.4f}, R {metrics.recall:.4f}"
        for what, value in (("nDCG@10", metrics.ndcg), ("P@10", metrics.precision)):
            budget = None
            if name == RETRIEVAL:
                budget = PUBLISHED[PEER][1 if what == "nDCG@10" else 2]
            elif name == RANKER:
                before = measured[RETRIEVAL]
                budget = before.ndcg if what == "nDCG@10" else before.precision
            if what == "nDCG@10" or budget is not None:
                figures[f"A: {what}, {name}"] = Figure(value, what.split("@")[0], budget, "higher", note)
    return figures


def off_policy_figures() -> Figures:
    """Each estimate's mean over the runs, beside the truth and what the log's plain mean would say."""
    figures: Figures = {}
    for target, runs in off_policy().items():
        truth, naive = (float(np.mean([getattr(one, what) for one in runs])) for what in ("truth", "naive"))
        for kind in ("ips", "snips"):
            estimates = [getattr(one, kind) for one in runs]
            covered = np.mean([one.covers(run.truth) for one, run in zip(estimates, runs, strict=True)])
            note = f"truth {truth:.4f}, the log's own mean {naive:.4f}; the interval covers in {covered:.0%}"
            mean = float(np.mean([one.value for one in estimates]))
            name = f"D: click rate of {target!r} by {kind.upper()}, mean of {len(runs)} runs"
            figures[name] = Figure(mean, "share", None, "higher", note)
    assert len(figures) == 2 * len(TARGETS)
    return figures


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)
