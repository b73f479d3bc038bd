"""A round of the feedback model over a real registry: what serves afterwards, and that a bad round changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from models.aliases import AliasMoved
from models.registry import Registry
from tests.training.verdicts import MADE_AT, NOW_US, judged, later_rows, population, rows
from training import feedback_round
from training.feedback import BACKGROUND, background_of
from training.feedback_gates import Contest, good_beside, judge_feedback
from training.feedback_round import HELD_OUT, NothingNew, Taught, held_out, judging_rows, teach
from training.feedback_rows import FeedbackRows
from training.gates import PromotionRefused, Verdict
from training.metrics import DAY_US

NAME = "fraud-feedback"
REPO = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def run(
    registry: Registry, found: FeedbackRows, days: float = 0.0, on_stage: Callable[[str], None] = lambda stage: None
) -> Taught:
    return teach(found, registry, NAME, "h", created_at=MADE_AT + timedelta(days=days), on_stage=on_stage)


def state(registry: Registry) -> tuple[list[str], object, int]:
    """All that a round could change."""
    return registry.versions(NAME), registry.aliases(NAME), len(registry.history(NAME))


def test_a_first_round_lets_a_model_serve_with_what_the_gates_said(registry: Registry) -> None:
    taught = run(registry, rows())
    assert registry.aliases(NAME) == {"champion": taught.version}
    (change,) = registry.history(NAME)
    assert (change.by, change.why) == ("headrace", taught.why)
    assert set(change.gates) == {
        *("definition", "parity", "latency", "population", "calibration", "useful", "verdicts"),
    }
    assert "passed" in change.gates["calibration"]
    assert "not judged" in change.gates["verdicts"]


def test_a_later_round_is_judged_by_the_newest_verdicts_and_takes_its_place(registry: Registry) -> None:
    first = run(registry, rows())
    second = run(registry, later_rows(), days=2)
    assert registry.aliases(NAME) == {"champion": second.version, "previous": first.version}
    assert "passed: on the newest" in registry.history(NAME)[-2].gates["verdicts"]
    cutoffs = [registry.manifest(NAME, one.version).label_cutoff for one in (first, second)]
    assert cutoffs[0] < cutoffs[1] < MADE_AT + timedelta(days=2)


def test_a_worse_one_is_refused_by_its_name_and_leaves_all_as_it_was(registry: Registry) -> None:
    """The verdicts that teach say the contrary of those that judge: somebody mixed up the buttons."""
    run(registry, rows())
    before = state(registry)
    wrong, right = later_rows(wrong=True), later_rows()
    judges = held_out(right.verdicts, NOW_US)
    y = np.where(judges, right.verdicts.frame.y, wrong.verdicts.frame.y)
    mixed = right.verdicts._replace(frame=replace(right.verdicts.frame, y=y))
    with pytest.raises(PromotionRefused, match="verdicts: on the newest"):
        run(registry, right._replace(verdicts=mixed), days=2)
    assert state(registry) == before


def test_a_population_that_somebody_chose_is_refused(registry: Registry) -> None:
    with pytest.raises(PromotionRefused, match=r"population: 40\.0% of the mature decisions have a label"):
        run(registry, rows(covered=0.4))
    assert state(registry) == ([], {}, 0)


def test_the_same_verdicts_again_are_nothing_new(registry: Registry) -> None:
    run(registry, rows())
    before = state(registry)
    with pytest.raises(NothingNew, match="of 0 verdicts since"):
        run(registry, rows(), days=1)
    assert state(registry) == before


def test_the_newest_verdicts_judge_as_few_as_will_do() -> None:
    verdicts = rows().verdicts
    judges = held_out(verdicts, NOW_US - 5 * DAY_US)
    assert verdicts.frame.y[judges].sum() == HELD_OUT
    assert verdicts.told_us[judges].min() > verdicts.told_us[~judges].max()
    assert not held_out(verdicts, None).any()
    with pytest.raises(NothingNew, match="14 are fraud; to judge by, 15 are needed"):
        held_out(verdicts, int(verdicts.told_us[-29]))
    with pytest.raises(NothingNew, match="all verdicts"):
        held_out(verdicts, int(verdicts.told_us[judges].min()) - 1)


def test_an_event_that_judges_is_not_in_the_population_that_teaches(registry: Registry) -> None:
    run(registry, rows())
    found = later_rows()
    doubled = population()
    both = judged(doubled, doubled.event_time_us + 7 * DAY_US, "v")  # the same ids as the verdicts
    taught = run(registry, found._replace(population=both), days=2)
    judges = int(held_out(found.verdicts, NOW_US).sum())
    assert registry.manifest(NAME, taught.version).metrics["measured_rows"] == len(doubled.y) - judges


def test_what_was_fitted_beside_the_verdicts_does_not_judge(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    contests: list[Contest] = []

    def noted(contest: Contest) -> list[Verdict]:
        contests.append(contest)
        return judge_feedback(contest)

    monkeypatch.setattr(feedback_round, "judge_feedback", noted)
    found, every = rows(), population(count=8_000)
    told_us = every.event_time_us + 7 * DAY_US
    taught = run(registry, found._replace(population=judged(every, told_us, "p")))
    (contest,) = contests
    fitted = {row.tobytes() for row in every.X[background_of(every)]}
    assert len(fitted) == registry.manifest(NAME, taught.version).parameters["background"] == BACKGROUND
    assert len(contest.population.y) == 8_000 - BACKGROUND
    assert not fitted & {row.tobytes() for row in contest.population.X}
    assert "on 5,000 rows (0 of them fitted)" in registry.history(NAME)[0].gates["calibration"]
    # The good payments beside the verdicts are of all the population's days.
    beside = contest.population.event_time_us[good_beside(contest)]
    assert len(beside) == 2_000
    days = np.bincount((beside - every.event_time_us[0]) // DAY_US, minlength=20)
    assert days[:20].min() > 50


def test_where_the_rows_that_were_not_fitted_are_too_few_all_judge_and_the_gate_says_so(registry: Registry) -> None:
    run(registry, rows())
    run(registry, later_rows(), days=2)
    gates = registry.history(NAME)[-2].gates
    assert "on 3,000 rows (3,000 of them fitted)" in gates["calibration"]
    assert "rows (2,000 of them fitted) of good payments" in gates["verdicts"]


def test_events_that_analysts_saw_stay_in_the_sample_and_are_not_ranked_beside() -> None:
    """Where analysts alone find fraud, what they did not see has none."""
    every = population(count=8_000)
    seen_rows = every.y != 0
    seen_rows[::7] = True
    sample = judged(every, every.event_time_us, "p")
    beside = background_of(every)
    judging, fitted = judging_rows(sample, beside, sample.where(seen_rows))
    assert judging.sum() == 8_000 - len(beside)
    assert every.y[judging].sum() == every.y.sum() - every.y[beside].sum() > 20
    assert (fitted[judging] == seen_rows[judging]).all()


def test_of_two_processes_at_once_one_wins(registry: Registry) -> None:
    winner: list[Taught] = []

    def meanwhile(stage: str) -> None:
        if stage == "register":
            winner.append(run(registry, rows(), days=1))

    with pytest.raises(AliasMoved, match=r"moved by headrace"):
        run(registry, rows(), on_stage=meanwhile)
    assert registry.aliases(NAME) == {"champion": winner[0].version}


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from models.registry import Registry
from tests.training.verdicts import MADE_AT, later_rows
from training.feedback_round import teach

class Killed(Registry):
    def alias(self, *given, **named):
        os.kill(os.getpid(), signal.SIGKILL)

def die(stage):
    if stage == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

found = later_rows()
teach(found, Killed(Path(sys.argv[1])), "fraud-feedback", "h", created_at=MADE_AT + timedelta(days=1), on_stage=die)
"""


@pytest.mark.parametrize(
    ("stage", "left"), [pytest.param("register", 0, marks=pytest.mark.thorough), ("before the alias", 1)]
)
def test_a_kill_in_the_middle_changes_nothing_that_serves_and_the_next_round_goes_on(
    registry: Registry, stage: str, left: int
) -> None:
    registry.alias(NAME, "champion", None, by="somebody")
    command = [sys.executable, "-c", KILLED, str(registry.directory), stage]
    ended = subprocess.run(command, cwd=REPO, timeout=240, capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr.decode()
    assert (registry.aliases(NAME), len(registry.history(NAME))) == ({}, 1)
    assert len(registry.versions(NAME)) == left
    for version in registry.versions(NAME):
        registry.load(NAME, version)
    assert run(registry, rows()).version == registry.resolve(NAME)
