"""Readings and states, over a clock that is made up: no database, no threads."""

from __future__ import annotations

import pytest

from review.alert_condition import Condition
from review.alert_reading import Reading, mean, read
from review.alert_standing import Standing, begun_anew, step
from tests.review.alert_numbers import Numbers, condition

DAY_S = 86_400.0
NOW_S = 20_000 * DAY_S


def played(one: Condition, *values: float | None, step_s: float = 30.0) -> list[str]:
    """The states after each value; None: no word."""
    standing = Standing(name=one.name)
    states: list[str] = []
    for number, value in enumerate(values):
        known = value is not None
        reading = Reading(value, "", None, known and one.is_passed(value or 0.0), known and one.is_clear(value or 0.0))
        standing = step(one, standing, reading, NOW_S + number * step_s)
        states.append(standing.state)
    return states


def reading_of(one: Condition, numbers: Numbers, began_s: float = NOW_S) -> Reading:
    return read(one, numbers, NOW_S, 60.0, began_s)


@pytest.mark.parametrize(
    ("values", "states"),
    [
        ((3, 9, 10), "ok ok ok"),
        ((11, 11, 11, 11), "pending pending firing firing"),
        ((11, 3, 11, 11, 11), "pending ok pending pending firing"),
        # Between the two levels it goes on; one look below is not yet the end, and a relapse begins the wait again.
        ((11, 11, 11, 7, 7, 7, 7), "pending pending firing firing firing firing firing"),
        ((11, 11, 11, 4, 4, 4), "pending pending firing firing firing resolved"),
        ((11, 11, 11, 4, 7, 4, 4, 4), "pending pending firing firing firing firing firing resolved"),
        ((11, 11, 11, 4, 4, 4, 11, 4), "pending pending firing firing firing resolved pending resolved"),
        # Silence: what was not seen does not count, and what burns goes on burning.
        ((None, None), "ok ok"),
        ((11, None, 11, 11, 11), "pending ok pending pending firing"),
        ((11, 11, 11, None, None, None, None), "pending pending firing firing firing firing firing"),
        ((11, 11, 11, 4, None, 4, 4, 4), "pending pending firing firing firing firing firing resolved"),
    ],
)
def test_states_follow_each_other(values: tuple[float | None, ...], states: str) -> None:
    assert played(condition(), *values) == states.split()


def test_without_a_for_it_fires_at_once_and_below_is_the_other_way_round() -> None:
    one = condition(below=10.0, clear=12.0, clear_for=0.0)
    assert played(one, 11, 9, 11, 12) == ["ok", "firing", "firing", "resolved"]


def test_a_new_firing_knows_nothing_of_who_knew_of_the_last() -> None:
    one = condition(above=10.0)
    known = Standing(name="lag", state="resolved", fired_at_s=1.0, told_at_s=1.0, acknowledged_by="ann")
    fired = step(one, known, Reading(11.0, "", None, True, False), NOW_S)
    assert (fired.state, fired.fired_at_s, fired.told_at_s, fired.acknowledged_by) == ("firing", NOW_S, None, None)


def test_what_was_pending_when_a_watcher_died_begins_anew_and_what_fired_goes_on() -> None:
    assert begun_anew(Standing(name="a", state="pending", since_s=1.0), NOW_S).state == "ok"
    assert begun_anew(Standing(name="a", state="firing", since_s=1.0), NOW_S).state == "firing"


def test_a_mean_is_weighed_by_time_and_gaps_count_for_nothing() -> None:
    assert mean([(0.0, 1.0), (90.0, 4.0)], 0.0, 120.0) == pytest.approx(1.75)
    assert mean([(0.0, 1.0), (60.0, 1.0), (1000.0, 9.0)], 0.0, 1060.0) is None


def test_an_old_value_says_nothing_about_now() -> None:
    numbers = Numbers()
    numbers.add("lag_s", NOW_S - 61.0, 99.0)
    reading = reading_of(condition(), numbers)
    assert (reading.value, reading.is_passed, reading.is_clear) == (None, False, False)
    assert reading.words.startswith("no word since 2024-")


def test_a_window_is_of_its_mean() -> None:
    numbers = Numbers()
    numbers.steady("lag_s", NOW_S - 300.0, NOW_S - 60.0, 0.0)
    numbers.steady("lag_s", NOW_S - 50.0, NOW_S, 60.0)
    reading = reading_of(condition(above=20.0, window=300.0), numbers)
    assert reading.value == pytest.approx(10.0, rel=0.05) and not reading.is_passed


@pytest.mark.parametrize(
    ("long_share", "short_share", "is_passed"), [(0.2, 0.2, True), (0.2, 0.0, False), (0.0, 0.2, False)]
)
def test_a_budget_burns_when_both_windows_say_so(long_share: float, short_share: float, is_passed: bool) -> None:
    numbers = Numbers()
    for begin_s, end_s, share in ((3600.0, 310.0, long_share), (300.0, 0.0, short_share)):
        numbers.steady("scores_per_s", NOW_S - begin_s, NOW_S - end_s, 100.0)
        numbers.steady("slow_per_s", NOW_S - begin_s, NOW_S - end_s, 100.0 * share)
    burn = {"of": "scores_per_s", "budget": 0.01, "factor": 14.4, "long": 3600.0, "short": 300.0}
    reading = reading_of(condition(series="slow_per_s", burn=burn), numbers)
    assert reading.is_passed == is_passed and reading.value is not None


def test_half_an_hour_without_traffic_weighs_nothing_in_a_budget() -> None:
    numbers = Numbers()
    numbers.steady("scores_per_s", NOW_S - 3600.0, NOW_S - 1810.0, 0.0)
    numbers.steady("scores_per_s", NOW_S - 1800.0, NOW_S, 100.0)
    numbers.steady("slow_per_s", NOW_S - 3600.0, NOW_S - 1810.0, 0.0)
    numbers.steady("slow_per_s", NOW_S - 1800.0, NOW_S, 20.0)
    burn = {"of": "scores_per_s", "budget": 0.01, "factor": 14.4, "long": 3600.0, "short": 300.0}
    reading = reading_of(condition(series="slow_per_s", burn=burn), numbers)
    assert reading.value == pytest.approx(20.0, rel=0.05)


@pytest.mark.parametrize(("before", "now", "is_passed"), [(0.02, 0.05, True), (0.02, 0.03, False), (0.0, 0.005, False)])
def test_a_jump_is_against_the_same_hour_of_the_day_before(before: float, now: float, is_passed: bool) -> None:
    numbers = Numbers()
    numbers.steady("flag_share", NOW_S - DAY_S - 900.0, NOW_S - DAY_S, before, 60.0)
    # In between it was high all night: that is not what is compared with.
    numbers.steady("flag_share", NOW_S - 40_000.0, NOW_S - 1000.0, 0.5, 60.0)
    numbers.steady("flag_share", NOW_S - 900.0, NOW_S, now)
    jump = {"ratio": 2.0, "least": 0.01, "window": 900.0, "before": DAY_S}
    reading = reading_of(condition(series="flag_share", jump=jump), numbers)
    assert reading.is_passed == is_passed and reading.value is not None


def test_with_no_day_before_a_jump_has_nothing_to_compare_with() -> None:
    numbers = Numbers()
    numbers.steady("flag_share", NOW_S - 900.0, NOW_S, 0.9)
    jump = {"ratio": 2.0, "least": 0.01, "window": 900.0, "before": DAY_S}
    reading = reading_of(condition(series="flag_share", jump=jump), numbers)
    assert reading.value is None and "nothing to compare with" in reading.words


def test_silence_fires_and_a_word_ends_it_and_a_start_is_no_silence() -> None:
    one, numbers = condition(series="answers_per_s", silent=120.0), Numbers()
    assert not reading_of(one, numbers).is_passed
    assert reading_of(one, numbers, began_s=NOW_S - 121.0).is_passed
    numbers.add("answers_per_s", NOW_S - 5.0, 0.0)
    assert reading_of(one, numbers, began_s=NOW_S - 121.0).is_clear
