"""The search for parameters: what it finds, what it never sees, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.manifest import Manifest
from stream.records import from_micros
from tests.training.test_batch import DAYS, NOON, SPLIT, frame
from training import search as searching
from training.batch import NotEnoughToLearn, SplitDays, train
from training.families import FAMILIES
from training.frame import TrainingFrame
from training.metrics import DAY_US
from training.search import Budget, Search, Trial, best_of, folds_of, parameters_of, search
from training.space import Between

FAMILY = "logistic_regression"


def noisy() -> TrainingFrame:
    """Two features that tell and fifty that do not, where a strong penalty is worth much."""
    rng = np.random.default_rng(3)
    told = frame()
    X = np.hstack([np.log(told.X[:, :2]), rng.normal(size=(len(told.y), 50))])
    return replace(told, X=X, feature_names=tuple(f"f{place}" for place in range(52)))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """A family whose defaults are a hopeless tree, and in whose space is a good one."""
    forest = FAMILIES["random_forest"]
    defaults = {**forest.defaults, "n_estimators": 5, "max_depth": 1, "min_samples_leaf": 900}
    space = {"min_samples_leaf": (900, 5), "max_depth": Between(1, 9, whole=True)}
    monkeypatch.setitem(FAMILIES, "planted", forest._replace(defaults=defaults, space=space))
    return "planted"


def test_a_better_parameter_is_found_and_goes_into_the_model_and_its_manifest(planted: str) -> None:
    found = search(frame(), planted, Budget(trials=8), split=SPLIT)
    assert found.best.changes["min_samples_leaf"] == 5
    assert found.best.changes["max_depth"] > 2  # type: ignore[operator]
    assert found.summary.value == found.best.value > found.summary.default_value + 0.1
    trained, plain = (
        train(frame(), planted, created_at=NOON, split=SPLIT, changes=changes, search=summary).manifest
        for changes, summary in ((found.best.changes, found.summary), ({}, None))
    )
    assert trained.parameters.items() >= found.best.changes.items()
    assert trained.metrics["average_precision"] > plain.metrics["average_precision"] + 0.1  # type: ignore[operator]
    assert Manifest.from_json(trained.to_json()).search == found.summary
    assert (found.summary.trials, found.summary.folds, found.summary.ended) == (8, 2, "trials")


def test_a_manifest_from_before_there_was_a_search_still_loads() -> None:
    manifest = train(frame(), FAMILY, created_at=NOON, split=SPLIT).manifest
    old = msgspec.json.decode(manifest.to_json())
    del old["search"]
    assert Manifest.from_json(msgspec.json.encode(old)) == manifest


def values(found: Search) -> list[tuple[float, ...]]:
    return [trial.folds for trial in found.trials]


def test_the_days_that_calibrate_are_never_seen() -> None:
    before, spoilt = frame(), frame()
    last = before.event_time_us >= (DAYS - SPLIT.calibrate) * DAY_US
    spoilt.X[last] = -1.0
    spoilt.y[last] ^= 1
    one, other = (search(each, FAMILY, Budget(trials=3), split=SPLIT) for each in (before, spoilt))
    assert values(one) == values(other)
    assert one.best.changes == other.best.changes
    # The day before them judges.
    spoilt.y[before.event_time_us >= (DAYS - SPLIT.calibrate - 1) * DAY_US] ^= 1
    assert values(search(spoilt, FAMILY, Budget(trials=3), split=SPLIT)) != values(one)


def test_folds_move_back_in_time_and_keep_the_gap() -> None:
    whole, split = frame(), SplitDays(gap=2, stop=1, calibrate=2)
    # What comes in the gap must not be fitted: only there is this feature ever known.
    day = whole.event_time_us // DAY_US
    for number, fold in enumerate(folds_of(whole, split, 2)):
        end = DAYS - split.calibrate * (number + 1)
        judged = fold.judged.event_time_us // DAY_US
        assert (judged.min(), judged.max()) == (end - 2, end - 1)
        assert len(fold.stop[1]) == np.count_nonzero(day == end - 3)
        assert len(fold.fit[1]) == np.count_nonzero(day < end - 3 - split.gap)
    assert len(folds_of(whole, split, 99)) == 4


def test_too_few_days_for_one_fold_say_so() -> None:
    with pytest.raises(NotEnoughToLearn, match="a search judges on the days before those that calibrate"):
        search(frame(), FAMILY, split=SplitDays(gap=7, stop=2, calibrate=3))


def test_the_same_seed_tries_the_same_and_more_trials_go_on_from_there() -> None:
    few, more = (search(frame(), FAMILY, Budget(trials=count), split=SPLIT, seed=5) for count in (3, 5))
    assert [trial.changes for trial in few.trials] == [trial.changes for trial in more.trials[:3]]
    assert values(few) == values(more)[:3]
    assert few.trials[0].changes == {}
    other = search(frame(), FAMILY, Budget(trials=3), split=SPLIT, seed=6)
    assert [trial.changes for trial in few.trials[1:]] != [trial.changes for trial in other.trials[1:]]


def test_families_take_turns_and_fixed_parameters_stay() -> None:
    both = ("logistic_regression", "lightgbm")
    found = search(frame(), both, Budget(trials=4), split=SPLIT)
    assert [trial.family for trial in found.trials] == [*both, *both]
    assert [bool(trial.changes) for trial in found.trials] == [False, False, True, True]
    fixed = search(frame(), FAMILY, Budget(trials=3), split=SPLIT, changes={"C": 0.5})
    assert [trial.changes["C"] for trial in fixed.trials] == [0.5] * 3


def ticks(step_s: float) -> Iterator[float]:
    now_s = 0.0
    while True:
        yield now_s
        now_s += step_s


def test_the_budget_of_time_is_kept_by_beginning_nothing_that_would_not_end_in_time() -> None:
    # The clock moves by 1 s whenever it is read: once before each trial that it decides on, twice for each trial.
    clock = ticks(1.0)
    found = search(frame(), FAMILY, Budget(time_s=9.5), split=SPLIT, clock=lambda: next(clock))
    assert found.summary.ended == "time"
    assert len(found.trials) == 3
    assert next(clock) <= 9.5 + 1.0
    short = search(frame(), FAMILY, Budget(time_s=0.001), split=SPLIT)
    assert len(short.trials) == 1  # the defaults: there is always an answer


def test_both_budgets_end_it_whichever_comes_first() -> None:
    found = search(frame(), FAMILY, Budget(trials=2, time_s=3600.0), split=SPLIT)
    assert (len(found.trials), found.summary.ended) == (2, "trials")
    with pytest.raises(ValueError, match="never ends"):
        Budget()
    with pytest.raises(ValueError, match="trials is 0"):
        Budget(trials=0)


def test_ctrl_c_ends_it_with_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    of_one, calls = searching._value, []

    def interrupted(*given: object) -> float:
        calls.append(given)
        if len(calls) == 6:  # within the third trial
            raise KeyboardInterrupt
        return of_one(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "_value", interrupted)
    found = search(frame(), FAMILY, Budget(trials=50), split=SPLIT)
    assert (len(found.trials), found.summary.ended) == (2, "interrupted")
    calls[:] = [()] * 5
    with pytest.raises(KeyboardInterrupt):
        search(frame(), FAMILY, Budget(trials=50), split=SPLIT)


def test_of_two_that_are_as_good_the_simpler_is_chosen() -> None:
    def trial(number: int, family: str, value: float, **changes: float) -> Trial:
        return Trial(number=number, family=family, changes={**changes}, folds=(value,), value=value, took_s=1.0)

    trees = trial(0, "hist_gradient_boosting", 0.7000)
    small = trial(1, "hist_gradient_boosting", 0.6995, max_leaf_nodes=8)
    linear = trial(2, "logistic_regression", 0.6992)
    worse = trial(3, "logistic_regression", 0.68)
    assert best_of([trees, small]) is small
    assert best_of([trees, small, linear, worse]) is linear
    assert best_of([trees, worse]) is trees


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_is_drawn_can_be_fitted(family: str) -> None:
    count = 400
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(count, 3)), (rng.random(count) < 0.3).astype(np.int8)
    for number in (1, 2):
        _, drawn = parameters_of(number, (family,), seed=0)
        assert drawn.keys() == FAMILIES[family].space.keys()
        small = {"n_estimators": 3} if family == "random_forest" else {}
        estimator, _ = FAMILIES[family].fit((X, y), (X, y), {**drawn, **small})
        assert estimator.predict_proba(X).shape == (count, 2)


def test_numbers_are_drawn_within_their_range_and_of_each_size() -> None:
    rng = np.random.default_rng(0)
    drawn = [Between(0.001, 100.0, log=True).draw(rng) for _ in range(400)]
    assert all(0.001 <= value <= 100.0 for value in drawn)
    assert all(60 <= sum(low <= value < 10 * low for value in drawn) <= 100 for low in (0.001, 0.01, 0.1, 1.0, 10.0))
    whole = {Between(2, 5, whole=True).draw(rng) for _ in range(200)}
    assert whole == {2, 3, 4, 5}
    assert all(isinstance(value, int) for value in whole)


def test_a_misspelt_family_or_objective_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'forest' is unknown; use one of logistic_regression"):
        search(frame(), "forest")
    with pytest.raises(ValueError, match="'accuracy' is unknown; use one of average_precision"):
        search(frame(), objective="accuracy")


def test_the_last_day_that_judges_is_before_the_first_that_calibrates() -> None:
    judged = folds_of(frame(), SPLIT, 1)[0].judged
    assert from_micros(int(judged.event_time_us.max())) < from_micros((DAYS - SPLIT.calibrate) * DAY_US)
