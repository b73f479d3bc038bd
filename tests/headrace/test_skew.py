"""`headrace features skew`: what it writes and publishes, once and on a schedule."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import msgspec
import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

import headrace.skew
from features.fraud import FRAUD
from headrace.cli import main
from headrace.settings import Settings
from headrace.skew import SkewOptions, check_on_schedule
from scoring.skew_metrics import SkewFeed
from scoring.skew_report import SkewReport, skew_key
from stream.connection import RedisConnection
from stream.records import Decision
from tests.training.test_skew import archive_of, traffic, unchanged
from training.skew import SkewCheck

LIMIT_S = 240.0


def one_wrong(decision: Decision) -> Decision:
    if decision.event_id != "e190":
        return decision
    return msgspec.structs.replace(decision, vector=[99.0, *decision.vector[1:]])


def skew(home: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["features", "skew", "--share", "1", "--home", str(home), *words])


def rates(text: str) -> dict[str, float]:
    return {
        sample.labels["feature"]: sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "headrace_skew_mismatch_ratio"
        for sample in family.samples
    }


def test_a_check_of_nothing_says_that_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    result = skew(tmp_path)
    assert result.exit_code == 0 and "nothing is known yet" in result.output, result.output


def test_a_check_writes_a_file_for_node_exporter(tmp_path: Path) -> None:
    archive_of(tmp_path / "archive", traffic(), one_wrong)
    folder = tmp_path / "textfiles"
    folder.mkdir()
    result = skew(tmp_path, "--metrics", str(folder / "headrace.prom"))
    assert result.exit_code == 1, result.output
    assert [path.name for path in folder.iterdir()] == ["headrace.prom"]
    found = rates((folder / "headrace.prom").read_text())
    wrong = {name: rate for name, rate in found.items() if rate}
    assert [*wrong] == [FRAUD.names[0]]
    assert 0 < wrong[FRAUD.names[0]] < 0.02
    assert oct((folder / "headrace.prom").stat().st_mode & 0o777) == "0o644"


def test_a_check_is_published_unless_it_shall_not(tmp_path: Path, redis_db: str) -> None:
    archive_of(tmp_path / "archive", traffic(), unchanged)
    assert skew(tmp_path, "--redis", redis_db, "--no-publish").exit_code == 0
    with closing(SkewFeed(redis_db, ["fraud"])) as feed:
        assert rates(feed.text()) == {}
        assert skew(tmp_path, "--redis", redis_db).exit_code == 0
        assert set(rates(feed.text()).values()) == {0.0}


def test_the_newest_days_only(tmp_path: Path) -> None:
    archive_of(tmp_path / "archive", traffic(), unchanged)
    figures = tmp_path / "skew.json"
    compared = []
    for words in ([], ["--days", "100"], ["--days", "2"]):
        assert skew(tmp_path, "--json", str(figures), *words).exit_code == 0
        compared.append(json.loads(figures.read_text())[0]["compared"])
    assert compared[0] == compared[1] > 100
    assert 0 < compared[2] < 40


def test_every_so_often_it_checks_again_and_shows_it(tmp_path: Path, redis_db: str) -> None:
    settings = Settings({"home": str(tmp_path), "redis": redis_db}, {})
    stop = Event()
    checking = Thread(target=check_on_schedule, args=(settings, SkewOptions(1.0, days=100), 0.3, stop))
    with RedisConnection(redis_db) as connection:
        checking.start()
        try:
            sleep(0.5)  # There is no archive yet; it tries again.
            assert connection.one("GET", skew_key("fraud")) is None
            archive_of(tmp_path / "made", traffic(), unchanged)
            (tmp_path / "made").rename(tmp_path / "archive")  # whole: a check may come at any moment
            first = report(connection, None)
            assert first.compared > 100
            assert report(connection, first).checked_at != first.checked_at
        finally:
            stop.set()
            checking.join(LIMIT_S)
    assert not checking.is_alive()


def report(connection: RedisConnection, before: SkewReport | None) -> SkewReport:
    """The next report after this one that compared anything."""
    until = monotonic() + LIMIT_S
    while monotonic() < until:
        content = connection.one("GET", skew_key("fraud"))
        if content is not None:
            found = msgspec.json.decode(content, type=SkewReport)
            if found.compared and (before is None or found.checked_at != before.checked_at):
                return found
        sleep(0.05)
    raise AssertionError("no report came")


def test_a_schedule_ends_within_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_of(tmp_path / "archive", traffic(), unchanged)
    stop = Event()
    days = 0
    check = SkewCheck

    def stopping(*args: object, **options: object) -> object:
        made = check(*args, **options)  # type: ignore[arg-type]
        go_on = made.on_day

        def on_day(stage: str, day: object) -> None:
            nonlocal days
            days += 1
            if days == 2:
                stop.set()
            go_on(stage, day)  # type: ignore[arg-type]

        made.on_day = on_day
        return made

    monkeypatch.setattr(headrace.skew, "SkewCheck", stopping)
    check_on_schedule(Settings({"home": str(tmp_path)}, {}), SkewOptions(1.0), 1000.0, stop)
    assert days == 2


def test_too_often_is_refused(tmp_path: Path) -> None:
    result = skew(tmp_path, "--every", "5ms")
    assert result.exit_code == 2
    assert "at least 1s" in result.output
