"""The table "When things go wrong" of docs/operations.md: the service killed at the worst moments, its disk full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scoring import spool
from scoring.ledger import Ledger
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.records import Decision, decode, encode
from tests.scenarios.forwarder import Forwarder
from tests.scenarios.served import SCORE, Served, all_is_recorded_once, logged
from tests.scoring.conftest import payment
from tests.until import LIMIT_S, until

AWAY = ["online store", "not recorded yet"]


class Child:
    """A serving process that does what it is told until it is killed."""

    def __init__(self, url: str, spool: Path, *more: str) -> None:
        command = [sys.executable, "-m", "tests.scenarios.served_child", url, str(spool), *more]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline() == b"ready\n"

    def send(self, event_id: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(event_id.encode() + b"\n")
        self._popen.stdin.flush()

    def score(self, event_id: str) -> Decision:
        self.send(event_id)
        assert self._popen.stdout is not None
        answer: Decision = decode(self._popen.stdout.readline(), Decision)
        return answer

    def kill(self) -> None:
        """SIGKILL."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def link(redis_db: str, redis_server: EmbeddedRedis) -> Iterator[Forwarder]:
    assert redis_server.port is not None
    with Forwarder(redis_server.port) as forwarder:
        yield forwarder


@pytest.fixture
def start(link: Forwarder, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    with ExitStack() as ends:

        def starting(*more: str) -> Child:
            child = Child(link.url, tmp_path / "spool", *more)
            ends.callback(child.kill)
            return child

        yield starting


def files_of(spool: Path) -> list[Path]:
    return sorted(spool.glob("*.spool"))


def test_what_was_answered_while_redis_was_away_outlives_the_service(
    start: Callable[..., Child], link: Forwarder, tmp_path: Path, redis_db: str
) -> None:
    child = start()
    link.shut()
    answered = {event_id: child.score(event_id) for event_id in ("e1", "e2", "e3")}
    assert [one.degraded for one in answered.values()] == [AWAY] * 3
    child.kill()
    with Served(link.url, tmp_path / "spool") as heir:
        # Redis is still away: the heir knows the answers all the same.
        assert heir.score("e2") == answered["e2"]
        link.open()
        heir.recovers()
    all_is_recorded_once(redis_db, answered)
    assert files_of(tmp_path / "spool") == []


def test_a_sibling_records_what_a_process_left_without_any_request(
    link: Forwarder, tmp_path: Path, redis_db: str
) -> None:
    sibling = Served(link.url, tmp_path / "spool")
    with Served(link.url, tmp_path / "spool") as gone:
        link.shut()
        gone.score("e1")
        with sibling:
            assert sibling.waiting == 0  # a living process's file is its own
    assert len(files_of(tmp_path / "spool")) == 1
    with Served(link.url, tmp_path / "spool") as other:
        link.open()
        until(lambda: logged(redis_db) == {"e1": 1}, "the record")
        until(lambda: files_of(tmp_path / "spool") == [], "the end of the file")
        other.recovers()
    all_is_recorded_once(redis_db, gone.answered)


@pytest.mark.parametrize("reached_redis", [False, True])
def test_a_service_killed_between_reading_and_answering_leaves_one_decision(
    start: Callable[..., Child], link: Forwarder, tmp_path: Path, redis_db: str, reached_redis: bool
) -> None:
    child = start()
    child.score("before")
    link.holding, link.holds_reply = b"EVALSHA", reached_redis
    child.send("e1")
    assert link.held.wait(LIMIT_S)
    child.kill()
    if reached_redis:
        until(lambda: logged(redis_db)["e1"] == 1, "the record")
    assert logged(redis_db)["e1"] == (1 if reached_redis else 0)
    link.holding = None
    link.held.clear()
    with Served(link.url, tmp_path / "spool") as heir:
        first = heir.calm("e1")
        assert first.degraded == []
        assert heir.calm("e1") == first
        assert heir.api.post(SCORE, encode(payment("e1", amount=21.0))).status == 409
    assert logged(redis_db) == {"before": 1, "e1": 1}


def test_a_torn_and_a_spoilt_line_are_reported_and_the_others_are_recorded(
    link: Forwarder, tmp_path: Path, redis_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Served(link.url, tmp_path / "spool") as gone:
        link.shut()
        answered = {event_id: gone.score(event_id) for event_id in ("e1", "e2", "e3")}
    (left,) = files_of(tmp_path / "spool")
    first, others = left.read_bytes().split(b"\n", 1)
    left.write_bytes(first.replace(b'"amount":20.0', b'"amount":90.0') + b"\n" + others[:-40])
    link.open()
    with Served(link.url, tmp_path / "spool") as heir:
        heir.recovers()
    all_is_recorded_once(redis_db, {"e2": answered["e2"]})
    assert "line 1 of the spool file" in caplog.text
    assert "line 3 of the spool file" in caplog.text


def test_a_full_disk_leaves_answers_in_memory_and_says_so(
    start: Callable[..., Child], link: Forwarder, tmp_path: Path, redis_db: str
) -> None:
    """The process may not write files longer than this: the write fails in the middle, as on a full disk."""
    child = start("10000")
    link.shut()
    answered = {f"e{number}": child.score(f"e{number}") for number in range(12)}
    on_disk = [one.degraded == AWAY for one in answered.values()]
    assert on_disk[0]
    assert not on_disk[-1]
    assert all(one.degraded in (AWAY, [*AWAY, "spool"]) for one in answered.values())
    (file,) = files_of(tmp_path / "spool")
    assert file.read_bytes().count(b"\n") == sum(on_disk)
    assert file.read_bytes().endswith(b"\n")  # no half line
    link.open()
    until(lambda: len(logged(redis_db)) == 12, "the record of all")
    until(lambda: files_of(tmp_path / "spool") == [], "the end of the file")

    def is_whole_again() -> bool:
        event_id = f"after {len(answered)}"
        answered[event_id] = child.score(event_id)
        return answered[event_id].degraded == []

    until(is_whole_again, "an answer that lacks nothing")
    until(lambda: len(logged(redis_db)) == len(answered), "the record of all")
    all_is_recorded_once(redis_db, answered)


def test_more_than_memory_holds_waits_on_disk(link: Forwarder, tmp_path: Path, redis_db: str) -> None:
    with Served(link.url, tmp_path / "spool") as served:
        served.scorer.spool.limit = 10
        link.shut()
        for number in range(35):
            assert served.score(f"e{number}").degraded == AWAY
        assert served.waiting == 10
        link.open()
        until(lambda: len(logged(redis_db)) == 35, "the record of all")
        until(lambda: files_of(tmp_path / "spool") == [], "the end of the file")
        all_is_recorded_once(redis_db, served.answered)


def test_a_file_that_is_removed_while_it_is_written_is_begun_anew(
    tmp_path: Path, link: Forwarder, redis_db: str
) -> None:
    with Served(link.url, tmp_path / "spool") as served:
        link.shut()
        served.score("e1")
        (file,) = files_of(tmp_path / "spool")
        file.unlink()
        served.score("e2")
        (anew,) = files_of(tmp_path / "spool")
        assert b'"e2"' in anew.read_bytes()
        link.open()
        served.recovers()
        all_is_recorded_once(redis_db, served.answered)


def test_an_answer_that_can_never_be_recorded_does_not_keep_all_others_on_disk(
    tmp_path: Path, link: Forwarder, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "REWRITE_LINES", 10)
    with Served(link.url, tmp_path / "spool") as served:
        with RedisConnection(redis_db) as connection:
            connection.one("RPUSH", Ledger.key("never"), "a list where its answer belongs")
        link.shut()
        for number in range(40):
            served.score(f"e{number}")
        served.score("never")
        link.open()
        until(lambda: len(logged(redis_db)) == 40, "the record of all others")
        until(lambda: served.waiting == 1, "one that waits")
        until(lambda: files_of(tmp_path / "spool")[0].read_bytes().count(b"\n") == 1, "a short file")
    (file,) = files_of(tmp_path / "spool")
    assert b'"never"' in file.read_bytes()


def test_the_bound_of_the_file_is_kept(tmp_path: Path, link: Forwarder, redis_db: str) -> None:
    with Served(link.url, tmp_path / "spool", limit_bytes=5000) as served:
        link.shut()
        degraded = [served.score(f"e{number}").degraded for number in range(10)]
        assert (degraded[0], degraded[-1]) == (AWAY, [*AWAY, "spool"])
        (file,) = files_of(tmp_path / "spool")
        assert file.stat().st_size <= 5000
        link.open()
        served.recovers()
        all_is_recorded_once(redis_db, served.answered)
