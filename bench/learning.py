"""Does learning from each label help: the batch member alone, with feedback, with online learning, with both.

Every arm scores the same rows in turn and is judged and taught when the labels are known, nothing sooner. The batch
member is trained once, or again each week: that is what online learning has to beat. Two worlds: a share of the cards
of the Fraud Detection Handbook's file (not shipped), whose frauds hardly change, and the simulator, where a fraud
pattern begins, another ends and amounts shift.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.arm_figures import AP, Judge, figures_of, gains_of, said
from bench.arm_members import batch_scores, online_beginning
from bench.arms import ARMS, Arm, run_arm
from bench.figures import Figure, Figures, not_measured
from bench.handbook_features import RAW
from bench.late_rows import WEEK_DAYS, LateRows, handbook_rows, simulated_rows
from bench.weights_choice import Choice, Judged, choose, gain_over
from models.contract import Vector
from models.ensemble import FRAUD_WEIGHTS
from training.metrics import DAY_US

EARLIER_WEEKS = 4
"""Weights are chosen on so many weeks, and shown on the rest."""
HANDBOOK = "handbook"
WORLDS: dict[str, Callable[[], LateRows]] = {HANDBOOK: partial(handbook_rows, RAW), "simulator": simulated_rows}
BOTH = {"once": Arm(feedback=True, online=True), "weekly": Arm(weekly=True, feedback=True, online=True)}


class Measured(NamedTuple):
    """What one world says: its figures, and what the members of the arms with all three said, earlier and later."""

    figures: Figures
    earlier: dict[str, Judged]
    later: dict[str, Judged]


def measure() -> Figures:
    """All figures. Takes up to ten minutes on two cores, one world on each."""
    worlds = worlds_here()
    with ProcessPoolExecutor(len(worlds), mp_context=get_context("spawn")) as pool:
        return figures_of_all(dict(zip(worlds, pool.map(measure_named, worlds), strict=True)))


def worlds_here() -> list[str]:
    """Those that can be had on this machine."""
    return [name for name in WORLDS if name != HANDBOOK or RAW.is_file()]


def figures_of_all(measured: Mapping[str, Measured]) -> Figures:
    """The figures of some worlds, and what weights they choose together."""
    figures: Figures = {}
    if HANDBOOK not in measured:
        why = f"no file {RAW.name}: it is made from github.com/Fraud-Detection-Handbook and not shipped"
        figures[f"{HANDBOOK}: all figures"] = not_measured("share", "higher", why)
    for one in measured.values():
        figures |= one.figures
    for schedule in BOTH:
        for name, one in measured.items():
            figures |= choice_figures(f"{name}, batch {schedule}", [one.earlier[schedule]], [one.later[schedule]])
    # The weights that serve are for a batch model that is trained again on a schedule, in any world.
    return figures | choice_figures(
        "all worlds, batch weekly",
        [one.earlier["weekly"] for one in measured.values()],
        [one.later["weekly"] for one in measured.values()],
    )


def measure_named(name: str) -> Measured:
    """One world in a process of its own, on one core."""
    with threadpool_limits(1):
        return measure_world(WORLDS[name](), lambda what: print(f"{name}: {what}", file=sys.stderr, flush=True))


def measure_world(rows: LateRows, on_stage: Callable[[str], None] = lambda stage: None) -> Measured:
    """All arms over one world, with the weights that serve."""
    judged = rows.judged
    y, card = rows.frame.y[judged], rows.frame.card[judged].astype(str)
    on_stage(f"{len(y):,} rows to score, {int(y.sum()):,} frauds, of {len(np.unique(card)):,} cards")
    judge = Judge(rows)
    batch = {}
    for weekly in (False, True):
        on_stage("train the batch member " + ("each week" if weekly else "once"))
        batch[weekly] = batch_scores(rows, weekly=weekly)
    on_stage("teach the online member up to the first week")
    beginning = online_beginning(rows)
    figures: Figures = {}
    found, earlier, later = {}, {}, {}
    for arm in ARMS:
        on_stage(arm.name)
        heard = run_arm(rows, arm, batch[arm.weekly], FRAUD_WEIGHTS, beginning if arm.online else None)
        found[arm] = judge.all_of(heard.score)
        figures |= figures_of(rows.name, arm.name, found[arm], rows.cards_a_day)
        if arm != arm.base:
            figures |= gains_of(rows.name, arm.name, found[arm], found[arm.base], arm.base.name)
        for schedule, both in BOTH.items():
            if arm == both:
                earlier[schedule], later[schedule] = parts_of(rows, heard.members)
    retrained = Arm(weekly=True)
    for arm in (retrained, Arm(online=True), Arm(feedback=True, online=True)):
        rival = Arm() if arm == retrained else retrained
        figures |= gains_of(rows.name, arm.name, found[arm], found[rival], rival.name)
    note = f"{int(y.sum()):,} frauds of {len(np.unique(card)):,} cards, in {len(found[retrained][AP].by_week)} weeks"
    return Measured(
        {f"{rows.name}: rows judged": Figure(len(y), "events", None, "higher", note)} | figures, earlier, later
    )


def parts_of(rows: LateRows, members: Mapping[str, Vector]) -> tuple[Judged, Judged]:
    """The weeks on which weights are chosen, and those on which they are shown."""
    judged = rows.judged
    every = Judged(members, rows.frame.card[judged].astype(str), rows.frame.y[judged])
    is_earlier = rows.frame.event_time_us[judged] < rows.begins_us + EARLIER_WEEKS * WEEK_DAYS * DAY_US
    return every.part(is_earlier), every.part(~is_earlier)


def choice_figures(name: str, earlier: Sequence[Judged], later: Sequence[Judged]) -> Figures:
    """What the rule chooses on the earlier weeks, and what the best candidate is worth on the later ones."""
    choice: Choice = choose(earlier)
    shown = gain_over(later, choice.best, FRAUD_WEIGHTS)
    took = f"chosen: {choice.chosen.version}"
    best = f"best {choice.best.version} (batch/feedback/online) against {FRAUD_WEIGHTS.version}"
    return {
        f"weights, {name}, earlier gain": Figure(
            choice.gain.value, "average precision", None, "higher", f"{best}, {said(choice.gain)} by card; {took}"
        ),
        f"weights, {name}, later gain": Figure(
            shown.value, "average precision", None, "higher", f"of {choice.best.version}, {said(shown)} by card"
        ),
    }
