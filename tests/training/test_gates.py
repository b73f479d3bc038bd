"""Each gate fails alone: a trial that passes all, and one thing changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from models.manifest import Interval
from tests.training.contest import MANIFEST
from training.bounds import Bounds
from training.gates import GATES, PromotionRefused, failed, judge
from training.trial import Against, Measures, SegmentTrial, Trial

AGAINST = Against(
    champion_cost=1000.0,
    saved=Interval(50.0, 10.0, 90.0),
    champion_precision=0.30,
    precision_gained=Interval(0.0, -0.02, 0.02),
    segments={
        "amount: below 20": SegmentTrial(4000, 30, 400.0, Interval(-39.0, -70.0, -5.0)),
        "amount: 20 to 100": SegmentTrial(3000, 10, 500.0, Interval(-300.0, -400.0, -200.0)),
    },
)
MEASURES = Measures(
    cost=950.0,
    card_precision=0.30,
    average_precision=Interval(0.5, 0.4, 0.6),
    calibration_error=0.004,
    chance_error=0.001,
    saved_to_none=Interval(200.0, -10.0, 400.0),
    against=AGAINST,
)
TRIAL = Trial(
    challenger=MANIFEST,
    champion=MANIFEST,
    serving_hash="h",
    rows=10_000,
    frauds=100,
    days=7,
    span="",
    latency_us=150.0,
    champion_latency_us=80.0,
    unanswered=0,
    measures=MEASURES,
)


def against(**changes: Any) -> Trial:
    return replace(TRIAL, measures=MEASURES._replace(against=AGAINST._replace(**changes)))


def measured(**changes: Any) -> Trial:
    return replace(TRIAL, measures=MEASURES._replace(**changes))


def manifest(**changes: Any) -> Trial:
    return replace(TRIAL, challenger=msgspec.structs.replace(MANIFEST, **changes))


ONE_CHANGED = [
    ("definition", manifest(definition_hash="g"), "definition g, the features that are served are h"),
    ("parity", manifest(max_onnx_difference=1.1e-5), "by 1.1e-05, more than 1e-05"),
    ("parity", manifest(max_onnx_difference=None), "nobody measured"),
    ("latency", replace(TRIAL, latency_us=161.0), "161 us, the champion 80 us; allowed are 160 us"),
    ("latency", replace(TRIAL, latency_us=1001.0, champion_latency_us=900.0), "allowed are 1000 us"),
    ("answers", replace(TRIAL, unanswered=12), "no number for 12 of 10,000 rows; allowed is none"),
    ("window", replace(TRIAL, days=4), "at least 30 frauds on 5 days"),
    ("calibration", measured(calibration_error=0.0061), "0.00510 more than by chance; allowed are 0.00500"),
    ("useful", measured(average_precision=Interval(0.02, 0.009, 0.1)), "by guessing 0.01"),
    ("useful", measured(saved_to_none=Interval(-1.0, -10.0, 400.0)), "against no model it saves -1"),
    ("better", against(saved=Interval(50.0, -1.0, 90.0)), "it saves 50 (-1 to 90) per 1,000 events"),
    (
        "cost",
        against(saved=Interval(-20.0, -30.0, -1.0), precision_gained=Interval(0.1, 0.05, 0.2)),
        "it saves -20 (-30 to -1); the high end must not be below 0",
    ),
    (
        "card precision",
        against(precision_gained=Interval(-0.03, -0.05, -0.001)),
        "gained -0.03 (-0.05 to -0.001); the high end must not be below 0",
    ),
    (
        "segments",
        against(segments={"currency: USD": SegmentTrial(900, 15, 400.0, Interval(-41.0, -70.0, -1.0))}),
        "'currency: USD' costs 10% more",
    ),
]


def test_the_trial_passes_every_gate() -> None:
    assert [verdict.gate for verdict in judge(TRIAL) if not verdict.passed] == []


@pytest.mark.parametrize(("gate", "trial", "words"), ONE_CHANGED)
def test_each_gate_fails_alone_and_says_by_how_much(gate: str, trial: Trial, words: str) -> None:
    (only,) = failed(judge(trial))
    assert only.gate == gate
    assert words in only.says
    assert words in str(PromotionRefused("fraud", "v2", judge(trial)))


def test_every_gate_has_a_case() -> None:
    assert {gate for gate, _, _ in ONE_CHANGED} == {gate.name for gate in GATES}


@pytest.mark.parametrize(
    "trial",
    [
        against(saved=Interval(-5.0, -30.0, 20.0), precision_gained=Interval(0.05, 0.01, 0.1)),
        against(segments={"few frauds": SegmentTrial(900, 14, 400.0, Interval(-200.0, -300.0, -100.0))}),
        against(segments={"by chance": SegmentTrial(900, 99, 400.0, Interval(-200.0, -500.0, 1.0))}),
        replace(TRIAL, latency_us=99.0, champion_latency_us=5.0),
        measured(calibration_error=0.006, chance_error=0.006),
    ],
)
def test_what_chance_could_do_stops_nobody(trial: Trial) -> None:
    assert failed(judge(trial)) == []


def test_without_a_champion_what_compares_is_left_out() -> None:
    alone = replace(TRIAL, champion=None, champion_latency_us=None, measures=MEASURES._replace(against=None))
    verdicts = judge(alone)
    assert failed(verdicts) == []
    assert [verdict.gate for verdict in verdicts if verdict.passed is None] == [
        *("better", "cost", "card precision", "segments")
    ]


def test_bounds_can_be_others() -> None:
    assert [one.gate for one in failed(judge(TRIAL, Bounds(least_frauds=101)))] == ["window"]
