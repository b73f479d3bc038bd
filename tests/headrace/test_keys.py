"""`headrace keys`: the whole life of a key by its commands, what they refuse, and what the doctor says of keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.doctor_keys import examine_keys, judge_auth
from headrace.keys import passing_key
from headrace.settings import Settings
from scoring.key_book import KeyBook
from scoring.key_log import KEY, KeyLog
from stream.connection import RedisConnection

CREATE = ("create", "--name", "shop", "--by", "ann", "--scope", "fraud:*")


class Person:
    """Somebody at a terminal."""

    def __init__(self, redis: str) -> None:
        self._options = {"HEADRACE_REDIS": redis}

    def tries(self, *words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(main, ["keys", *words], env=self._options)
        return result.exit_code, result.stdout, result.stderr

    def does(self, *words: str) -> str:
        status, text, errors = self.tries(*words)
        assert status == 0, text + errors
        return text

    def reads(self, *words: str) -> Any:
        return json.loads(self.does(*words, "--json"))


@pytest.fixture
def person(redis_db: str) -> Person:
    return Person(redis_db)


def book(redis: str) -> KeyBook:
    with RedisConnection(redis) as connection:
        log = KeyLog(connection)
        log.read()
        return log.book


def test_a_key_is_made_replaced_and_ended_and_its_secret_shown_once(person: Person, redis_db: str) -> None:
    text = person.does(*CREATE, "--owner", "pay@x", "--rate", "20", "--body-limit", "500", "--expires", "90d").strip()
    key_id, secret = text.split("_")[1:]
    new = person.does("rotate", key_id, "--grace", "1h", "--by", "bob", "--why", "yearly").strip()
    assert new.split("_")[1] == key_id
    (listed,) = person.reads("list")
    assert (listed["rate_per_s"], listed["burst"], listed["body_limit"], listed["owner"]) == (20.0, 20, 500, "pay@x")
    assert person.does("list").count(key_id) == 1
    person.does("revoke", key_id, "--by", "cy")
    assert person.reads("list") == []
    steps = [one["step"] for one in person.reads("history", key_id)]
    assert [(step["do"], step["by"]) for step in steps] == [("create", "ann"), ("rotate", "bob"), ("revoke", "cy")]
    shown = person.does("history") + person.does("history", "--json") + person.does("list", "--json")
    for hidden in (secret, new.split("_")[2], "digest"):
        assert hidden not in shown


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("create", "--name", "x", "--by", "ann", "--scope", "fraud:scoer"), "did you mean 'fraud:score'"),
        ((*CREATE, "--rate", "20", "--burst", "5"), "give at least that"),
        ((*CREATE, "--rate", "nan"), "--rate nan"),
        ((*CREATE, "--burst", "5"), "a rate needs a burst"),
        ((*CREATE, "--expires", "soon"), "soon"),
        (("revoke", "0123456789ab", "--by", "ann"), "there is no key '0123456789ab'"),
        (("rotate", "nobody", "--by", "ann"), "there is no key 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    person: Person, redis_db: str, words: tuple[str, ...], why: str
) -> None:
    status, text, errors = person.tries(*words)
    assert status == 1
    assert why in text + errors
    with RedisConnection(redis_db) as connection:
        assert connection.one("LLEN", KEY) == 0


def test_a_passing_key_is_revoked_afterwards(redis_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    monkeypatch.setattr("headrace.keys.TAKEN_WITHIN_S", 0.0)
    settings = Settings({"redis": redis_db, "auth": "keys"}, {})
    with passing_key(settings, "demo", ("fraud:score",)) as text:
        assert text is not None
        assert list(book(redis_db).keys) == [text.split("_")[1]]
    assert not book(redis_db).keys
    with passing_key(settings.but(auth="off"), "demo", ("fraud:score",)) as text:
        assert text is None


def test_the_doctor_warns_of_a_service_that_anybody_may_ask() -> None:
    assert judge_auth("off", "0.0.0.0").level == "WARN"
    assert judge_auth("off", "10.1.2.3").level == "WARN"
    assert judge_auth("off", "api.internal").level == "WARN"
    assert {judge_auth("off", host).level for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2")} == {"OK"}
    assert judge_auth("keys", "0.0.0.0").level == "OK"


def test_the_doctor_says_that_there_is_no_key_or_that_one_ends_soon(person: Person, redis_db: str) -> None:
    with RedisConnection(redis_db) as connection:
        assert [one.level for one in examine_keys(connection)] == ["FAIL"]
        person.does(*CREATE, "--expires", "20d")
        assert [one.level for one in examine_keys(connection)] == ["OK"]
        later = datetime.now(UTC) + timedelta(days=7)
        assert [one.level for one in examine_keys(connection, later)] == ["WARN"]
        assert [one.level for one in examine_keys(connection, later + timedelta(days=14))] == ["FAIL"]
