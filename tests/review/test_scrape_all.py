"""Several services are looked at as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from review.collector import Collector, Tick
from review.counted_apart import CountedApart, bury, together
from review.scrape import Readings, ScrapeFailed
from review.scrape_all import AGAIN_S, LOOKUP_S, ScrapeAll
from review.series import Series
from review.series_counts import LABELS_LIMIT
from review.service_addresses import ServiceAddresses
from review.web.dashboard_view import trouble_of
from tests.review.made_up_service import MadeUpService, labels

NOON_S = 1_772_452_800.0
OUTCOMES = "headrace_outcomes_total"
LIMIT_S = 60.0


class Pod(MadeUpService):
    """A service at an address of its own, which may hang."""

    def __init__(self, seed: int, per_s: float = 10.0) -> None:
        super().__init__(NOON_S, per_s, seed)
        self.closed = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked = 0

    def __call__(self) -> Readings:
        self.asked += 1
        assert self.goes_on.wait(LIMIT_S)
        return super().__call__()

    def close(self) -> None:
        self.closed = True


class Cluster:
    """Pods by their address, and what looks at them all."""

    def __init__(self, count: int = 2, look_s: float = LIMIT_S) -> None:
        self.pods = {f"10.0.0.{number}": Pod(number) for number in range(count)}
        self.there = list(self.pods)
        self.now_s = NOON_S
        self.names_are_known = True
        addresses = ServiceAddresses("dns+http://pods:3000", self.lookup)
        self.scrape = ScrapeAll(addresses, self.open, lambda: self.now_s, look_s)
        self.collector = Collector(self.scrape, Series(), clock=lambda: self.now_s, away=lambda: self.scrape.away)

    def lookup(self, name: str, port: int) -> list[str]:
        if not self.names_are_known:
            raise OSError("no name server answers")
        return list(self.there)

    def open(self, url: str) -> Pod:
        return self.pods[url.removeprefix("http://").removesuffix(":3000")]

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        for pod in self.pods.values():
            pod.pass_s(seconds)

    def ticks(self, seconds: float, step_s: float = 2.0) -> list[Tick]:
        found = []
        for _ in range(round(seconds / step_s)):
            self.pass_s(step_s)
            found.append(self.collector.tick())
        return found

    def until_looked_up(self) -> None:
        """Names are looked up beside the looks: let that end."""
        self.now_s += LOOKUP_S
        for _ in range(2):
            self.scrape()
            looking_up = self.scrape._looking_up
            if looking_up is not None:
                looking_up.exception(LIMIT_S)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    for pod in made.pods.values():
        pod.goes_on.set()
    made.scrape.close()


def decisions(readings: Readings) -> float:
    return sum(readings[OUTCOMES].values())


def test_counters_and_histograms_are_added_and_of_gauges_the_largest_is_told(cluster: Cluster) -> None:
    one, two = cluster.pods.values()
    cluster.pass_s(5)
    for pod, lag_s, waiting in ((one, 3.0, 2.0), (two, 7.0, 5.0)):
        pod.set("headrace_lag_seconds", lag_s, group="worker", topic="transactions")
        pod.set("headrace_spool_waiting", waiting)
        pod.set("headrace_recommender_shown", 900.0, by="place", name="ranked", what="shown")
    found = cluster.scrape()
    assert decisions(found) == decisions(one()) + decisions(two())
    bucket = labels(use_case="fraud", le="0.003")
    name = "headrace_score_seconds_bucket"
    assert found[name][bucket] == one()[name][bucket] + two()[name][bucket]
    assert list(found["headrace_lag_seconds"].values()) == [7.0]
    assert list(found["headrace_spool_waiting"].values()) == [7.0], "each has its own"
    assert list(found["headrace_recommender_shown"].values()) == [900.0], "they all say what one learner counted"
    assert cluster.scrape.away == ""


def test_one_that_begins_anew_takes_nothing_with_it(cluster: Cluster) -> None:
    one, two = cluster.pods.values()
    cluster.pass_s(20)
    before, of_two = decisions(cluster.scrape()), decisions(two())
    one.restart()
    cluster.pass_s(1)
    assert 0 < decisions(one()) < before - of_two, "its counters fell"
    assert decisions(cluster.scrape()) == before + decisions(one()) + decisions(two()) - of_two


def test_one_that_is_away_is_said_and_blanks_no_other(cluster: Cluster) -> None:
    one, two = cluster.pods.values()
    assert all(tick.values["events_per_s"] > 15.0 for tick in cluster.ticks(20)[2:])
    one.set("headrace_lag_seconds", 99.0, group="worker", topic="transactions")
    cluster.ticks(2)
    one.is_down = True
    last = cluster.ticks(30)[-1]
    assert last.trouble == "" and last.away == "1 of 2 addresses away: the service does not answer"
    assert last.values["events_per_s"] == pytest.approx(10.0, rel=0.4)
    assert "lag_s" not in last.values, "nobody knows a gauge of one that is away"
    assert trouble_of(last, lambda: None).endswith(
        "away: the service does not answer. The numbers are those of the others."
    )
    one.is_down = False
    back = cluster.ticks(30)
    assert back[-1].away == "" and back[-1].values["events_per_s"] > 15.0
    assert max(tick.values["events_per_s"] for tick in back) < 30.0, "what it counted meanwhile is of no moment"
    one.is_down = two.is_down = True
    assert "2 of 2 addresses away" in cluster.ticks(2)[0].trouble
    assert not cluster.collector.newest.values


def test_one_that_hangs_keeps_no_other_waiting_and_is_not_asked_again_at_once() -> None:
    cluster = Cluster(look_s=1.0)
    one = cluster.pods["10.0.0.0"]
    cluster.ticks(4)
    one.goes_on.clear()
    asked = one.asked
    found = cluster.ticks(6)
    assert found[-1].away == "1 of 2 addresses away: it has not answered yet"
    assert found[-1].values["events_per_s"] > 0.0
    assert one.asked == asked + 1, "the look that hangs is under way"
    one.goes_on.set()
    one.is_down = True
    cluster.ticks(2)
    look = cluster.scrape._places["http://10.0.0.0:3000"].look
    assert look is None or look.exception(LIMIT_S) is not None
    cluster.ticks(2)
    asked = one.asked
    cluster.ticks(AGAIN_S - 4)
    assert one.asked == asked
    one.is_down = False
    cluster.ticks(AGAIN_S)
    assert one.asked > asked and cluster.collector.newest.away == ""
    cluster.scrape.close()


def test_pods_that_come_and_go_make_no_jump(cluster: Cluster) -> None:
    cluster.ticks(20)
    new = cluster.pods["10.0.0.8"] = Pod(8)
    new.pass_s(5_000)
    cluster.there = ["10.0.0.1", "10.0.0.8"]
    before = decisions(cluster.scrape())
    cluster.until_looked_up()
    assert decisions(cluster.scrape()) == before, "what it counted before anybody looked is of no moment"
    assert cluster.pods["10.0.0.0"].closed
    rates = [tick.values["events_per_s"] for tick in cluster.ticks(20)]
    assert max(rates) < 30.0 and rates[-1] > 15.0
    assert decisions(cluster.scrape()) > before


def test_without_a_name_server_the_addresses_of_before_are_asked(cluster: Cluster) -> None:
    cluster.ticks(4)
    cluster.names_are_known = False
    cluster.until_looked_up()
    assert cluster.ticks(2)[-1].trouble == ""
    nobody = Cluster()
    nobody.names_are_known = False
    with pytest.raises(ScrapeFailed, match=r"pods has no address .*no name server"):
        nobody.scrape()
    nobody.scrape.close()


def test_a_defect_of_a_look_is_no_silent_hole(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.ticks(2)
    with monkeypatch.context() as broken:
        broken.setattr(Pod, "__call__", lambda self: 1 / 0)
        assert "could not be computed" in cluster.ticks(2)[0].trouble
    assert cluster.ticks(4)[-1].trouble == ""


def test_the_series_of_services_that_are_gone_do_not_pile_up() -> None:
    ended: Readings = {}
    live = CountedApart(from_now=False)
    live.add({OUTCOMES: {labels(outcome="approve"): 5.0}})
    for number in range(LABELS_LIMIT + 200):
        gone = CountedApart(from_now=False)
        gone.add({OUTCOMES: {labels(outcome="approve"): 1.0, labels(outcome=f"of {number}"): 1.0}})
        bury(ended, gone, [live])
    assert len(ended[OUTCOMES]) <= LABELS_LIMIT
    assert together([live], ended)[OUTCOMES][labels(outcome="approve")] == 5.0 + LABELS_LIMIT + 200
