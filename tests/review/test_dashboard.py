"""The live dashboard: what the page says, what its stream sends, what its charts read."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.types import Message

from review.collector import Collector
from review.precision import Precision
from review.series import Series
from review.series_file import Minute, SeriesFile
from review.series_history import SeriesHistory
from review.series_table import row_of
from review.web import bounded_stream, dashboard_stream, dashboard_view
from review.web.app import make_app
from review.web.bounded_stream import BoundedStream
from review.web.dashboard_charts import CHARTS, DRAWN
from review.web.dashboard_stream import Ticks, stream_of
from review.web.dashboard_view import drifted_of, models_of, seen_words, tiles_of
from review.web.static_files import ROOT
from tests.review.made_up_service import MadeUpService, usual_gauges
from tests.review.office import NOON, Desk, Office

NOON_S = NOON.timestamp()
WAIT_S = 60.0


class Live:
    """An office with a dashboard over a service that is not there."""

    def __init__(self, folder: Path) -> None:
        self.office = Office(folder / "review.sqlite")
        self.service = MadeUpService(NOON_S, per_s=10.0)
        self.days = SeriesFile(folder / "series.sqlite")
        self.collector = Collector(self.service, Series(), self.days, clock=lambda: self.service.at_s)
        self.history = SeriesHistory(self.collector.series, self.days)
        self.office.parts = replace(self.office.parts, collector=self.collector, series=self.history)
        self.office.app = make_app(self.office.parts)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            self.service.pass_s(2.0)
            usual_gauges(self.service, self.service.at_s)
            self.collector.tick()

    def close(self) -> None:
        self.days.close()
        self.office.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with closing(Live(tmp_path)) as made:
        made.run(20.0)
        yield made


@pytest.fixture
def desk(live: Live) -> Desk:
    return live.office.desk("vic", "viewer")


def tile(desk: Desk, name: str) -> str:
    assert desk.page is not None
    found = re.search(rf'id="tile-{name}".*?</a>', desk.page.text, re.S)
    assert found, name
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).partition(">")[2].split())


def shown(live: Live, **values: float) -> dict[str, Any]:
    return {one.id: one for one in tiles_of(values, live.collector.series, live.service.at_s)}


def test_a_viewer_sees_the_newest_numbers_without_a_script(desk: Desk) -> None:
    assert desk.get("/").status_code == 200
    assert re.search(r"Events [89]|Events 1\d", tile(desk, "events"))
    assert "its twin" in tile(desk, "learner")
    assert "20260301.2" in desk.page_text() and "amount_7d_mean" in desk.page_text()
    assert desk.page_text().count('class="card chart"') == len(CHARTS)


def test_whoever_is_nobody_is_sent_to_sign_in(live: Live) -> None:
    stranger = live.office.desk("vic", "viewer")
    stranger.client.cookies.clear()
    assert "/sign-in" in str(stranger.get("/").url)
    stranger.client.headers["accept"] = "application/json"
    assert stranger.get("/dashboard/series").status_code == 401
    assert stranger.get("/dashboard/events").status_code == 401


def test_a_service_that_is_gone_is_said_with_when_and_what_to_do(live: Live, desk: Desk) -> None:
    live.service.is_down = True
    live.run(4.0)
    desk.get("/")
    assert "The service does not answer. No word since 12:00:20 UTC." in desk.page_text()
    assert "–" in tile(desk, "events")


def test_without_a_service_the_page_says_how_to_name_one(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        desk = office.desk("vic", "viewer")
        assert "HEADRACE_REVIEW_SERVICE" in desk.get("/").text
        assert desk.get("/dashboard/series").status_code == 404


def test_what_is_not_as_it_should_be_is_said_in_a_word(live: Live) -> None:
    good = shown(live, latency_p99_ms=2.4, slow_share=0.004, degraded_share=0.0, lag_s=0.2, learner_age_s=1.0)
    assert not any(one.warning for one in good.values())
    bad = shown(live, latency_p99_ms=61.0, slow_share=0.2, degraded_share=0.3, lag_s=40.0, learner_age_s=900.0)
    words = {one.id: one.warning for one in bad.values() if one.is_bad}
    assert words == {
        "latency": "over the deadline",
        "slow": "over budget",
        "degraded": "degraded",
        "lag": "late",
        "learner": "silent",
    }
    over = shown(live, latency_p99_ms=3.5)["latency"]
    assert (over.warning, over.is_bad) == ("over budget", False)


def test_an_archiver_that_writes_by_the_block_is_not_late_and_one_that_stands_is(live: Live) -> None:
    waits = {"reader_lag_s.worker": 0.05, "reader_lag_s.archiver": 299.0, "keeper_lag_s": 299.0}
    calm = shown(live, lag_s=0.05, **waits)["lag"]
    assert (calm.warning, calm.note) == ("", "all readers keep up")
    stands = shown(live, lag_s=0.05, **waits | {"reader_lag_s.archiver": 1200.0})["lag"]
    assert (stands.warning, stands.note) == ("late", "archiver is behind")


def test_money_stopped_is_what_was_declined_in_the_last_hour_in_its_currency(live: Live) -> None:
    live.service.per_s = 0.0
    for _ in range(100):
        live.service.score(outcome="decline", amount=5_000.0, currency="CHF")
    live.run(120.0)
    live.service.restart()
    live.service.score(outcome="decline", amount=7_000.0, currency="CHF")
    live.service.score(outcome="review", amount=250.0, currency="CHF")
    live.run(60.0)
    told = shown(live)["money"]
    assert (told.value, told.unit) == ("507,000", "CHF")
    assert told.note == "in the last 3 min; 250 held"
    assert seen_words(Series(), NOON_S) == "in the last hour"


def test_models_are_told_with_their_versions_and_what_is_known_of_them(live: Live) -> None:
    rows = {row.member: row for row in models_of(live.collector.standing, live.collector.newest.versions, [])}
    assert set(rows) == {"batch", "online", "feedback"}
    assert rows["batch"][:2] == ("batch", "20260301.2") and rows["batch"].auc == "0.943 (0.929–0.954)"
    assert 7.0 < float(rows["batch"].per_s) < 14.0
    assert rows["batch"].precision == "–"
    assert drifted_of(live.collector.standing)[0] == ("amount_7d_mean", "0.231")


def test_every_chart_draws_series_that_exist() -> None:
    for name in DRAWN:
        assert row_of(name.removesuffix(".*")) is not None, name
    for chart in CHARTS:
        rows = [row_of(name.removesuffix(".*")) for name in chart.names]
        assert {row.unit for row in rows if row} <= {chart.unit}, chart.id


def test_a_hostile_name_is_text_in_the_page(live: Live, desk: Desk) -> None:
    hostile = "<img src=x onerror=alert(1)>'\""
    live.service.set("headrace_drift_value", 9.0, use_case="fraud", measure="psi", subject=hostile)
    live.run(2.0)
    page = desk.get("/").text
    assert "<img src=x" not in page and hostile in unescape(page)


def test_series_are_read_by_name_range_and_time(live: Live, desk: Desk) -> None:
    live.run(60.0)
    whole = desk.get("/dashboard/series?range=15m&name=events_per_s&name=outcome_per_s.*").json()
    assert set(whole["v"]) >= {"events_per_s", "outcome_per_s.approve"}
    assert whole["units"]["events_per_s"] == "/s"
    assert len(whole["t"]) == len(whole["v"]["events_per_s"]) == 40
    since = whole["t"][-3]
    newer = desk.get(f"/dashboard/series?name=events_per_s&since={since}").json()
    assert newer["t"] == whole["t"][-2:]


def test_the_last_days_are_read_from_the_file(live: Live, desk: Desk) -> None:
    for minute in range(0, 1440, 30):
        live.days.add(int(NOON_S // 60) - minute, {"flag_share": Minute(1, 0.03, 0.03)})
    found = desk.get("/dashboard/series?range=1d&name=flag_share").json()
    assert len(found["t"]) >= 45 and found["v"]["flag_share"][0] == 0.03


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("name=nonsense", "there is no series 'nonsense'"),
        ("range=2y", "is no range; give one of 15m, 1h"),
        ("since=yesterday", "is no time"),
        ("since=nan", "is no time"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_in_words(desk: Desk, question: str, words: str) -> None:
    answer = desk.get(f"/dashboard/series?{question}")
    assert answer.status_code == 400 and words in answer.text


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test, WAIT_S * 2)

    asyncio.run(whole())


def ticks_of(live: Live) -> Ticks:
    return Ticks(live.collector, live.history, live.office.cases)


async def told(stream: AsyncGenerator[bytes, None], name: str) -> dict[str, Any]:
    """The content of the next event of this name."""
    while True:
        said = (await asyncio.wait_for(anext(stream), WAIT_S)).decode()
        if f"event: {name}\n" in said:
            content: dict[str, Any] = json.loads(said.partition("data: ")[2])
            return content | {"id": int(found[1]) if (found := re.search(r"id: (\d+)", said)) else None}


def stream(ticks: Ticks, after_ms: int | None = None, heartbeat_s: float = WAIT_S) -> AsyncGenerator[bytes, None]:
    return stream_of(ticks, after_ms, heartbeat_s)  # type: ignore[return-value]


def test_one_computation_is_told_to_every_page(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    real = dashboard_view.tiles_of

    def counted(*given: Any) -> Any:
        nonlocal made
        made += 1
        return real(*given)

    async def listen() -> None:
        monkeypatch.setattr(dashboard_stream, "tiles_of", counted)
        ticks = ticks_of(live)
        pages = [stream(ticks) for _ in range(5)]
        for page in pages:
            await told(page, "hello")
        await asyncio.to_thread(live.run, 2.0)
        said = [await told(page, "tick") for page in pages]
        assert all(one == said[0] for one in said) and made == 1
        assert said[0]["t"] == live.service.at_s and said[0]["id"] == round(live.service.at_s * 1000)
        assert said[0]["v"]["events_per_s"] > 0 and len(said[0]["tiles"]) == 10
        for page in pages:
            await page.aclose()
        await asyncio.to_thread(live.run, 2.0)
        assert made == 1, "nobody looks, and it is put into words all the same"

    run(listen())


def test_cases_that_hang_hold_up_no_look(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, goes_on, waited = Event(), Event(), list[bool]()

    def hangs(*question: object) -> list[Precision]:
        asked.set()
        waited.append(goes_on.wait(WAIT_S))
        return []

    async def listen() -> None:
        page = stream(ticks_of(live))
        await told(page, "hello")
        await asyncio.to_thread(live.run, 2.0)
        assert (await told(page, "tick"))["t"] == live.service.at_s
        assert await asyncio.to_thread(asked.wait, WAIT_S) and waited == []
        await page.aclose()

    monkeypatch.setattr(live.office.cases, "precision", hangs)
    try:
        run(listen())
    finally:
        goes_on.set()


def test_a_page_that_comes_back_is_told_what_it_missed(live: Live) -> None:
    before_ms = round(live.service.at_s * 1000)
    live.run(10.0)

    async def listen() -> None:
        page = stream(ticks_of(live), before_ms)
        missed = await told(page, "missed")
        assert [at for at, _ in missed["ticks"]] == [before_ms / 1000 + 2 * number for number in range(1, 6)]
        assert missed["ticks"][0][1]["events_per_s"] > 0
        await page.aclose()

    run(listen())


@pytest.mark.parametrize("after_ms", [0, 1_000])
def test_a_page_that_was_gone_too_long_reads_all_again(live: Live, after_ms: int) -> None:
    async def listen() -> None:
        page = stream(ticks_of(live), after_ms)
        assert await told(page, "again")
        await page.aclose()

    run(listen())


def test_a_page_that_missed_nothing_is_told_nothing(live: Live) -> None:
    assert ticks_of(live).missed(round(live.service.at_s * 1000)) == b""


def test_a_silent_stream_says_that_it_is_still_there(live: Live) -> None:
    async def listen() -> None:
        page = stream(ticks_of(live), heartbeat_s=0.01)
        await told(page, "hello")
        assert await anext(page) == b": still there\n\n"
        await page.aclose()

    run(listen())


def test_a_page_that_does_not_keep_up_is_ended_and_the_others_go_on(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard_stream, "QUEUE_LIMIT", 3)

    async def listen() -> None:
        ticks = ticks_of(live)
        slow, quick = stream(ticks), stream(ticks)
        await told(slow, "hello")
        await told(quick, "hello")
        for _ in range(5):
            await asyncio.to_thread(live.run, 2.0)
            await told(quick, "tick")
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        await quick.aclose()

    run(listen())


def test_a_connection_that_takes_nothing_is_cut_off(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_stream, "SEND_LIMIT_S", 0.05)

    async def listen() -> None:
        ticks = ticks_of(live)

        async def stuck(message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        answer = asyncio.create_task(BoundedStream(stream(ticks))(scope, receive, stuck))
        done, _ = await asyncio.wait({answer}, timeout=WAIT_S)
        assert answer in done, "nobody takes what is sent, and it waits all the same"
        answer.exception()
        assert not ticks._listeners

    run(listen())


def test_more_pages_than_may_listen_are_sent_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_stream, "LISTENERS_LIMIT", 0)
    answer = desk.get("/dashboard/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def test_the_script_asks_only_for_what_there_is() -> None:
    script = "".join((ROOT / name).read_text() for name in ("dashboard.js", "dashboard_chart.js"))
    assert set(re.findall(r'"(/dashboard/[a-z]+)|`(/dashboard/[a-z]+)', script)) <= {
        ("/dashboard/events", ""),
        ("/dashboard/series", ""),
        ("", "/dashboard/series"),
    }
    assert "innerHTML" not in script
