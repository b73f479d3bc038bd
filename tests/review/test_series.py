"""Series from counts: rates, shares and percentiles over restarts and silences, the ring of the last hour."""

from __future__ import annotations

import math

import pytest

from review.scrape import Readings, Scrape, ScrapeFailed, parsed
from review.series import Point, Series
from review.series_counts import Moment, Unwound, Window
from review.series_formulas import Above, Gauge, Mean, Percentile, Rate, Share
from review.series_history import SeriesHistory, thinned
from review.series_table import TABLE, WANTED, row_of, values_of, versions_of
from scoring.metric_table import LATENCY_BUCKETS_S, OF_SCORING
from scoring.metric_text import counts_text
from scoring.observed import Observed
from stream.records import Decision
from tests.headrace.test_deploy import existing_metrics
from tests.review.made_up_service import MadeUpService, labels, usual_gauges
from tests.scoring.test_observed import decided

NOON_S = 1_772_452_800.0
N = "headrace_n_total"


def counted(value: float, **named: str) -> Readings:
    return {N: {labels(**named): value}}


def window_of(*looks: tuple[float, Readings], gap_s: float = 45.0) -> Window:
    window, unwound = Window(600.0, gap_s), Unwound()
    for at_s, readings in looks:
        window.add(Moment(at_s, unwound.add(readings)))
    return window


def test_a_rate_is_growth_by_time() -> None:
    assert Rate(N).values(window_of((0.0, counted(100)), (10.0, counted(150)))) == {"": 5.0}


def test_one_look_has_no_rate() -> None:
    assert Rate(N).values(window_of((0.0, counted(100)))) == {}


def test_a_rate_looks_back_as_far_as_its_window_and_no_farther() -> None:
    looks = [(2.0 * number, counted(100.0 * number if number > 20 else 0.0)) for number in range(31)]
    assert Rate(N, window_s=10.0).values(window_of(*looks)) == {"": 50.0}


def test_a_counter_that_begins_anew_has_counted_from_nothing() -> None:
    window = window_of((0.0, counted(1000)), (5.0, counted(1040)), (10.0, counted(30)))
    assert Rate(N).values(window) == {"": 7.0}


def test_a_histogram_begins_anew_as_a_whole() -> None:
    def histogram(low: float, all_: float) -> Readings:
        return {"h_bucket": {labels(le="1.0"): low, labels(le="+Inf"): all_}, "h_count": {labels(): all_}}

    # After the restart 60 quick values are in already: more than the bucket had, less than there were in all.
    window = window_of((0.0, histogram(50, 100)), (10.0, histogram(60, 80)))
    assert window.over(10.0) is not None
    grown = window.over(10.0)
    assert grown is not None and grown.of("h_bucket") == {labels(le="1.0"): 60.0, labels(le="+Inf"): 80.0}
    assert Above("h", 1.0).values(window) == {"": 0.25}


def test_a_series_that_is_new_began_at_nothing() -> None:
    window = window_of((0.0, counted(5, outcome="approve")), (10.0, {N: {labels(outcome="decline"): 20.0}}))
    assert Rate(N, by="outcome").values(window) == {"approve": 0.0, "decline": 2.0}


def test_what_has_not_happened_since_a_restart_keeps_what_it_had() -> None:
    before = {N: {labels(outcome="approve"): 5_000.0, labels(outcome="decline"): 1_000.0}}
    begun = {N: {labels(outcome="approve"): 3.0}}
    later = {N: {labels(outcome="approve"): 9.0, labels(outcome="decline"): 1.0}}
    window = window_of((0.0, before), (10.0, begun), (20.0, later))
    assert Rate(N, by="outcome").values(window) == {"approve": 0.6, "decline": 0.1}
    # More of it than there had been in all of the life before.
    window = window_of((0.0, before), (10.0, begun), (20.0, {N: {labels(outcome="decline"): 1_100.0}}))
    assert Rate(N, by="outcome").values(window)["decline"] == 110.0


def test_what_is_left_out_of_a_look_has_not_grown_from_nothing_by_the_next() -> None:
    window = window_of((0.0, counted(700)), (10.0, {}), (20.0, counted(701)))
    assert Rate(N).values(window) == {"": 0.1}
    letters = {"kept": {labels(topic="dead-letters"): 500.0}}
    gauge = Rate("kept", {"topic": "dead-letters"})
    assert gauge.values(window_of((0.0, letters), (10.0, {}), (20.0, letters))) == {}
    assert gauge.values(window_of((0.0, letters), (10.0, letters))) == {"": 0.0}


def test_a_service_that_nobody_has_asked_yet_answers_nothing_a_second_and_is_not_silent() -> None:
    window = window_of((0.0, {"headrace_model": {labels(): 1.0}}), (10.0, {"headrace_model": {labels(): 1.0}}))
    found = values_of(window)
    assert [found[name] for name in ("answers_per_s", "failed_per_s", "events_per_s")] == [0.0, 0.0, 0.0]


def test_nothing_is_made_up_for_a_time_in_which_nobody_looked() -> None:
    window = window_of((0.0, counted(0)), (2.0, counted(10)), (1000.0, counted(99_999)))
    assert Rate(N).values(window) == {}
    window.add(Moment(1002.0, counted(100_003)))
    assert Rate(N).values(window) == {"": 2.0}


def test_what_never_happened_is_nothing_a_second_and_what_nobody_counts_is_unknown() -> None:
    window = window_of((0.0, counted(0, status="200")), (10.0, counted(10, status="200")))
    assert Rate(N, {"status": ("500", "503")}).values(window) == {"": 0.0}
    assert Rate("headrace_other_total").values(window) == {}


def test_a_share_of_nothing_is_unknown() -> None:
    def both(flagged: float, approved: float) -> Readings:
        return {N: {labels(o="flag"): flagged, labels(o="ok"): approved}}

    share = Share(N, N, {"o": "flag"})
    assert share.values(window_of((0.0, both(1, 9)), (10.0, both(2, 12)))) == {"": 0.25}
    assert share.values(window_of((0.0, both(1, 9)), (10.0, both(1, 9)))) == {}


def test_of_parts_that_overlap_the_largest_speaks() -> None:
    def lacking(models: float, history: float) -> Readings:
        return {"part": {labels(m="models"): models, labels(m="history"): history}, "whole": {labels(): 100.0 * models}}

    unwound = window_of((0.0, {"part_total": {}, "whole_total": {labels(): 0.0}}))
    unwound.add(Moment(10.0, {f"{name}_total": series for name, series in lacking(4, 3).items()}))
    assert Share("part_total", "whole_total", by="m", most=True).values(unwound) == {"": 0.01}
    assert Share("part_total", "whole_total", by="m").values(unwound) == {"models": 0.01, "history": 0.0075}


def test_a_percentile_lies_within_its_bucket_and_a_mean_is_exact() -> None:
    def buckets(*counts: float) -> Readings:
        bounds = [labels(le=bound) for bound in ("0.001", "0.002", "+Inf")]
        return {
            "s_bucket": dict(zip(bounds, counts, strict=True)),
            "s_sum": {labels(): counts[2] * 0.0015},
            "s_count": {labels(): counts[2]},
        }

    window = window_of((0.0, buckets(0, 0, 0)), (10.0, buckets(90, 100, 100)))
    assert Percentile("s", 0.95).values(window)[""] == pytest.approx(1.5)
    assert Mean("s").values(window)[""] == pytest.approx(1.5)
    assert Percentile("s", 0.99).values(window_of((0.0, buckets(0, 0, 0)), (10.0, buckets(0, 0, 9)))) == {"": 2.0}


def test_of_several_gauges_the_largest_is_told_and_each_by_its_label() -> None:
    readings = {"g": {labels(group="a", topic="x"): 1.0, labels(group="a", topic="y"): 3.0, labels(group="b"): 2.0}}
    window = window_of((0.0, readings))
    assert Gauge("g").values(window) == {"": 3.0}
    assert Gauge("g", by="group").values(window) == {"a": 3.0, "b": 2.0}


def test_the_text_is_parsed_as_far_as_it_is_wanted() -> None:
    service = MadeUpService(NOON_S)
    usual_gauges(service, NOON_S)
    service.pass_s(1.0)
    found = parsed(service.text(), WANTED)
    assert "other_metric" not in found
    assert found["headrace_outcomes_total"] == service()["headrace_outcomes_total"]


def test_a_series_that_is_known_is_read_as_it_was_the_first_time() -> None:
    text = 'headrace_n{a="x } y",b="1\\"2"} %s\nheadrace_n{a="z"} %s 1700000000000\nheadrace_m %s\n'
    for number in (1.0, 2.5, math.inf):
        value = "+Inf" if number == math.inf else str(number)
        assert parsed(text.replace("%s", value), ["headrace_"]) == {
            "headrace_n": {labels(a="x } y", b='1"2'): number, labels(a="z"): number},
            "headrace_m": {(): number},
        }


def test_text_that_is_no_metric_is_named() -> None:
    with pytest.raises(ScrapeFailed, match="is this the service of Headrace"):
        parsed("headrace_n_total{broken 1\n", ["headrace_n"])


def test_a_service_that_is_not_there_is_named_with_what_to_do() -> None:
    scrape = Scrape("http://127.0.0.1:9", WANTED, {"authorization": "Bearer hr_secret"})
    with pytest.raises(ScrapeFailed, match="headrace serve") as caught:
        scrape()
    assert "hr_secret" not in str(caught.value)
    scrape.close()


def test_what_the_service_counts_becomes_the_series() -> None:
    observed = Observed("fraud")
    window, unwound = Window(600.0, 45.0), Unwound()

    def look(at_s: float) -> dict[str, float]:
        window.add(Moment(at_s, unwound.add(parsed(counts_text(observed.counts(), OF_SCORING), WANTED))))
        return values_of(window)

    def answer(count: int, took_s: float, **fields: object) -> None:
        for _ in range(count):
            decision: Decision = decided(**fields)
            observed.score(decision, took_s)

    look(NOON_S)
    answer(96, 0.0015)
    answer(2, 0.004, outcome="decline")
    answer(2, 0.07, outcome="review", degraded=["online model"])
    values = look(NOON_S + 10)
    assert values["events_per_s"] == 10.0
    assert values["outcome_per_s.decline"] == pytest.approx(0.2)
    assert values["flag_share"] == pytest.approx(0.04)
    assert values["slow_share"] == pytest.approx(0.04)
    assert values["late_share"] == pytest.approx(0.02)
    assert values["degraded_share"] == values["lacked_share.online model"] == pytest.approx(0.02)
    assert 1.0 <= values["latency_p50_ms"] <= 2.0 and values["latency_p99_ms"] > 50.0
    amount = decided().record.amount
    assert values["stopped_per_min.EUR"] == pytest.approx(2 * amount * 6)
    assert versions_of(window)["batch", "20260131.1"] == 10.0


def test_the_table_names_metrics_that_exist_and_the_budget_is_a_bound() -> None:
    assert existing_metrics() >= WANTED
    assert 0.003 in LATENCY_BUCKETS_S and 0.05 in LATENCY_BUCKETS_S
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert row_of("lacked_share.online model") is not None and row_of("lacked") is None


def test_the_ring_keeps_the_newest_and_knows_what_was_not_said() -> None:
    series = Series(ticks_limit=4)
    for number in range(7):
        series.append(float(number), {"a": number} if number != 5 else {})
    assert series.since("a", 0.0) == [Point(3.0, 3.0), Point(4.0, 4.0), Point(6.0, 6.0)]
    assert series.columns(["a", "unknown"], 4.0) == ([5.0, 6.0], {"a": [None, 6.0], "unknown": [None, None]})
    assert series.ticks(4.5) == [(5.0, {}), (6.0, {"a": 6.0})]
    assert series.began_s == 3.0


def test_the_latest_value_may_be_old_and_an_unknown_series_has_none() -> None:
    series = Series()
    series.append(1.0, {"a": 5.0})
    series.append(2.0, {})
    assert series.latest("a") == Point(1.0, 5.0)
    assert series.latest("b") is None
    assert series.since("b", 0.0) == []


def test_a_clock_that_is_set_back_adds_nothing() -> None:
    series = Series()
    assert series.append(10.0, {"a": 1.0})
    assert not series.append(9.0, {"a": 2.0})
    assert series.latest("a") == Point(10.0, 1.0)


def test_a_clock_that_is_set_back_by_far_begins_the_hour_anew() -> None:
    series = Series()
    series.append(NOON_S, {"a": 1.0})
    assert series.append(NOON_S - 3600.0, {"b": 2.0})
    assert series.latest("a") is None and series.latest("b") == Point(NOON_S - 3600.0, 2.0)
    window = window_of((NOON_S, counted(5)), (NOON_S - 3600.0, counted(6)), (NOON_S - 3590.0, counted(16)))
    assert Rate(N).values(window) == {"": 1.0}


def test_senders_cannot_fill_the_memory_with_names() -> None:
    series = Series(ticks_limit=2, names_limit=3)
    series.append(1.0, {f"n{number}": 1.0 for number in range(10)})
    assert len(series.names) == 3


def test_a_chart_is_thinned_on_a_grid_that_stays() -> None:
    series = Series()
    for number in range(100):
        series.append(2.0 * number + 1, {"a": 1.0 if number % 2 else 3.0})
    thin = thinned(series.columns(["a"], 0.0), 10.0)
    assert len(thin.at_s) == 20 and set(thin.values["a"]) <= {1.8, 2.2}
    again = thinned(series.columns(["a"], 41.0), 10.0)
    assert again.at_s[1:] == thin.at_s[-len(again.at_s) + 1 :]


def test_without_a_file_the_history_is_the_last_hour() -> None:
    series = Series()
    series.append(NOON_S, {"a": 1.0})
    history = SeriesHistory(series)
    assert history.columns(["a"], NOON_S - 86_400, NOON_S) == ([], {"a": []})
    assert history.columns(["a"], NOON_S - 900, NOON_S).values == {"a": [1.0]}
    assert list(history.since("a", NOON_S - 86_400)) == [Point(NOON_S, 1.0)]
    assert not math.isnan(history.series.began_s)
