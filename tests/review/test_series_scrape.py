"""A look at /metrics over HTTP, and the collector as the command puts it together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

import pytest

from headrace.assembly_live import FILE, collecting
from headrace.settings import InvalidSetting, Settings
from review.scrape import Scrape, ScrapeFailed
from review.series_file import SeriesFile
from review.series_table import WANTED
from tests.review.made_up_service import MadeUpService
from tests.until import until


class Metrics(ThreadingHTTPServer):
    """/metrics of a service that is not there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.service = MadeUpService(0.0)
        self.status = 200
        self.text: str | None = None
        self.keys: list[str | None] = []
        self.asked: list[str] = []
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Whoever has heard enough hangs up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Metrics)
        server.keys.append(self.headers.get("authorization"))
        server.asked.append(self.path)
        server.service.pass_s(1.0)
        content = (server.service.text() if server.text is None else server.text).encode()
        self.send_response(server.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with Metrics() as server:
        yield server
        server.shutdown()


def test_a_look_finds_what_the_service_says(metrics: Metrics) -> None:
    with closing(Scrape(metrics.url + "/", WANTED, {"authorization": "Bearer hr_7"})) as scrape:
        found = scrape()
        assert found["headrace_outcomes_total"] == metrics.service()["headrace_outcomes_total"]
        assert metrics.keys == ["Bearer hr_7"]
        path, _, question = metrics.asked[0].partition("?")
        assert path == "/metrics" and set(parse_qs(question)["name[]"]) == WANTED


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (403, "", "a key with the scope metrics:read"),
        (500, "", "says 500; see the log of the service"),
        (200, "another_metric 1\n", "no metrics of Headrace; correct HEADRACE_REVIEW_SERVICE"),
        (200, "# " + "x" * 8_100_000, "says more than"),
    ],
    ids=["no key", "broken", "another's", "endless"],
)
def test_a_service_that_says_something_else_is_named_with_what_to_do(
    metrics: Metrics, status: int, text: str, words: str
) -> None:
    metrics.status, metrics.text = status, text
    with closing(Scrape(metrics.url, WANTED)) as scrape, pytest.raises(ScrapeFailed, match=words):
        scrape()


def test_the_command_collects_as_long_as_it_runs_and_keeps_what_it_saw(metrics: Metrics, tmp_path: Path) -> None:
    settings = Settings({"home": str(tmp_path), "review_service": metrics.url}, {})
    with collecting(settings) as live:
        assert live is not None
        collector, history = live
        collector.watched()
        until(lambda: history.latest("events_per_s") is not None, lambda: collector.newest)
        ended_s = collector.newest.at_s
    with closing(SeriesFile(tmp_path / FILE)) as days:
        assert "events_per_s" in days.names()
        assert days.read(["events_per_s"], ended_s - 120, ended_s).values["events_per_s"]


def test_several_addresses_are_one_service_and_one_that_is_away_is_said(metrics: Metrics, tmp_path: Path) -> None:
    with Metrics() as other, Metrics() as gone:
        gone.shutdown()
        gone.server_close()
        named = f"{metrics.url} {other.url} {gone.url}"
        with collecting(Settings({"home": str(tmp_path), "review_service": named}, {})) as live:
            assert live is not None
            collector, history = live
            collector.watched()
            until(lambda: history.latest("events_per_s") is not None, lambda: collector.newest)
            tick, standing = collector.newest, collector.standing
        other.shutdown()
    assert tick.away.startswith("1 of 3 addresses away") and gone.url in tick.away
    assert tick.values["events_total"] == sum(standing["headrace_outcomes_total"].values())
    assert metrics.asked and other.asked


def test_without_an_address_nothing_is_collected_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    with collecting(Settings({"home": str(tmp_path)}, {})) as live:
        assert live is None
    wrong = Settings({"home": str(tmp_path), "review_service": "localhost:3000"}, {})
    with pytest.raises(InvalidSetting, match="HEADRACE_REVIEW_SERVICE"), collecting(wrong):
        pass


def test_a_file_that_is_broken_costs_the_days_only(metrics: Metrics, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, and it is long enough to be seen as none" * 20)
    with collecting(Settings({"home": str(tmp_path), "review_service": metrics.url}, {})) as live:
        assert live is not None
