"""Commands of a second terminal find what `headrace up` runs in the home, with nothing set."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.running import REDIS_FOLDER, say_service, service_of_home, with_redis_of_home
from headrace.settings import Settings
from stream.connection import RedisConnection
from stream.embedded_redis import URL_FILE, EmbeddedRedis, running_in


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedRedis]:
    """The Redis of a home that lies where the commands are given."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HEADRACE_REDIS", "HEADRACE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with EmbeddedRedis(tmp_path / ".headrace" / REDIS_FOLDER) as started:
        yield started


def given(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_a_command_finds_the_redis_of_its_home(server: EmbeddedRedis) -> None:
    made = given("keys", "create", "--name", "shop", "--scope", "fraud:score", "--by", "ana")
    assert made.exit_code == 0, made.output
    with RedisConnection(server.url) as connection:
        assert connection.one("LLEN", "keys") == 1
    assert "denied" in given("rules", "list").output
    assert "answers at 127.0.0.1" in given("doctor").output


def test_one_that_is_named_comes_first(server: EmbeddedRedis) -> None:
    named = Settings({"redis": "redis://elsewhere:1/0"}, {})
    assert with_redis_of_home(named).redis == "redis://elsewhere:1/0"


def test_a_server_that_was_killed_is_none(server: EmbeddedRedis) -> None:
    server.kill()
    assert (server.directory / URL_FILE).exists()
    refused = given("keys", "list")
    assert refused.exit_code == 1
    assert "no 'headrace up' runs in .headrace" in refused.output and "--redis" in refused.output


def test_a_server_of_another_directory_at_the_same_address_is_none(server: EmbeddedRedis, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    shutil.copy(server.directory / URL_FILE, copied)
    assert running_in(server.directory) == server.url
    assert running_in(copied) == ""


def test_what_was_stopped_is_none_and_comes_back_at_the_same_address(server: EmbeddedRedis) -> None:
    url = server.url
    server.stop()
    assert running_in(server.directory) == ""
    with EmbeddedRedis(server.directory) as again:
        assert again.url == url


def test_an_address_that_another_has_taken_is_left_to_it(server: EmbeddedRedis) -> None:
    server.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", server.port or 0))
        taken.listen()
        with EmbeddedRedis(server.directory) as again:
            assert again.port != server.port
            assert running_in(server.directory) == again.url


def test_a_second_stack_does_not_join_the_first(server: EmbeddedRedis) -> None:
    second = given("up")
    assert second.exit_code == 1
    assert "another Redis has the directory" in second.output


@pytest.mark.parametrize("command", [("serve",), ("archive",), ("forget", "card_id", "c1", "--by", "ana")])
def test_without_any_a_command_says_how_to_name_one(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_REDIS", raising=False)
    said = given(*command, "--home", str(tmp_path))
    assert said.exit_code == 1
    assert "give --redis redis://host:port/0, or HEADRACE_REDIS" in said.output


def test_the_service_of_a_home_is_known_while_it_runs(tmp_path: Path) -> None:
    assert service_of_home(tmp_path) == ""
    say_service(tmp_path, "http://127.0.0.1:3000")
    assert service_of_home(tmp_path) == "http://127.0.0.1:3000"
    say_service(tmp_path, "")
    assert service_of_home(tmp_path) == ""
