"""API keys: what is kept of one, what it may do, and their history in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scoring.key import NewKey, new_key
from scoring.key_allowance import Allowances
from scoring.key_book import KEYS_LIMIT, KeyBook
from scoring.key_feed import REFRESH_INTERVAL_S, TIMEOUT_MS, KeyFeed
from scoring.key_log import CHUNK_STEPS, KEY, KeyLog
from scoring.key_scopes import SCOPES, InvalidScope, allowed_by
from scoring.key_steps import Created, KeyStep, Revoked, Rotated, encode_key_step
from scoring.key_table import KeyTable, NotKnown, table_of
from scoring.rule_book import ForbiddenStep
from scoring.rule_steps import InvalidStep
from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from tests.until import until

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()


def created(key: NewKey, *scopes: str, **more: Any) -> Created:
    return Created(at=NOW, by="ann", key=key.id, name="shop", digest=key.digest, scopes=scopes or ("fraud:*",), **more)


def table(*steps: KeyStep) -> KeyTable:
    book = KeyBook()
    for step in steps:
        book.apply(step)
    return table_of(book, Allowances(RedisConnection("redis://127.0.0.1:1/0")))


def refused(keys: KeyTable, text: str, at_s: float = NOW_S) -> str:
    with pytest.raises(NotKnown) as caught:
        keys.find(text.encode(), at_s)
    return caught.value.reason


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


def test_a_key_is_known_by_its_text_and_by_no_other() -> None:
    key, other = new_key(), new_key()
    keys = table(created(key))
    assert keys.find(key.text.encode(), NOW_S).id == key.id
    assert refused(keys, other.text) == "unknown"
    assert refused(keys, f"hr_{key.id}_{other.text.rpartition('_')[2]}") == "unknown"
    assert key.text not in repr(key)


@pytest.mark.parametrize("text", ["", "hr_", "hr_x_y", "a" * 10_000, "hr_0123456789ab-" + "0" * 64, "\x00\xff"])
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert refused(table(created(new_key())), text) == "malformed"


def test_only_a_hash_of_a_key_is_kept(connection: RedisConnection) -> None:
    key = new_key()
    KeyLog(connection).append(created(key))
    (content,) = connection.one("LRANGE", KEY, 0, -1)
    assert key.text.rpartition("_")[2].encode() not in content
    assert key.digest.encode() in content


def test_a_key_ends_when_it_expires() -> None:
    key = new_key()
    keys = table(created(key, expires_at=NOW + timedelta(seconds=10)))
    assert keys.find(key.text.encode(), NOW_S + 9.9).id == key.id
    assert refused(keys, key.text, NOW_S + 10) == "expired"


def test_after_a_rotation_the_old_secret_is_taken_for_its_grace_only() -> None:
    old = new_key()
    new, newest = new_key(old.id), new_key(old.id)
    first = Rotated(at=NOW, by="ann", key=old.id, digest=new.digest, old_until=NOW + timedelta(seconds=60))
    keys = table(created(old), first)
    assert keys.find(old.text.encode(), NOW_S + 59).id == keys.find(new.text.encode(), NOW_S + 59).id
    assert refused(keys, old.text, NOW_S + 60) == "unknown"
    assert keys.find(new.text.encode(), NOW_S + 1e9).id == old.id
    # Rotated again, the oldest ends at once.
    keys = table(created(old), first, Rotated(at=NOW, by="ann", key=old.id, digest=newest.digest, old_until=NOW))
    assert [refused(keys, one.text) for one in (old, new)] == ["unknown", "unknown"]
    assert keys.find(newest.text.encode(), NOW_S).id == old.id


def test_a_revoked_key_is_ended_for_ever() -> None:
    key = new_key()
    revoked = Revoked(at=NOW, by="ann", key=key.id)
    assert refused(table(created(key), revoked), key.text) == "unknown"
    for step in (created(key), revoked, Rotated(at=NOW, by="ann", key=key.id, digest=key.digest, old_until=NOW)):
        with pytest.raises(ForbiddenStep):
            table(created(key), revoked, step)


def test_there_are_no_more_keys_than_the_limit() -> None:
    book = KeyBook()
    for _ in range(KEYS_LIMIT):
        book.apply(created(new_key()))
    with pytest.raises(ForbiddenStep, match="revoke"):
        book.check(created(new_key()))


def test_a_scope_allows_what_it_says_and_stars_allow_all_of_a_part() -> None:
    assert allowed_by(["fraud:score"]) == {"fraud:score"}
    assert allowed_by(["fraud:*"]) == {"fraud:score", "fraud:read"}
    assert allowed_by(["*:*"]) == SCOPES
    assert not allowed_by(["fraud", "*", "fraud:", ":score", "iot:score", ""])


def test_a_step_with_what_it_may_not_have_is_not_appended(connection: RedisConnection) -> None:
    log, key = KeyLog(connection), new_key()
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (InvalidStep, {"rate_per_s": 10.0}),
        (InvalidStep, {"rate_per_s": 10.0, "burst": 9}),
        (InvalidStep, {"rate_per_s": -1.0, "burst": 9}),
        (InvalidStep, {"body_limit": 0}),
        (InvalidStep, {"owner": "a\nb"}),
    ]
    for kind, fields in wrong:
        with pytest.raises(kind):
            log.append(created(key, **fields))
    with pytest.raises(InvalidScope, match="did you mean 'fraud:score'"):
        log.append(created(key, "fraud:scores"))
    assert connection.one("LLEN", KEY) == 0


def test_two_writers_agree_and_every_step_is_kept(connection: RedisConnection) -> None:
    one, other = KeyLog(connection), KeyLog(connection)
    key = new_key()
    one.append(created(key))
    other.append(Revoked(at=NOW, by="bob", key=key.id))
    with pytest.raises(ForbiddenStep, match="was revoked"):
        one.append(Revoked(at=NOW, by="ann", key=key.id))
    assert [(version, step.by) for version, step in one.steps() if step is not None] == [(1, "ann"), (2, "bob")]


def test_a_step_that_is_none_is_passed_over_and_reported(connection: RedisConnection) -> None:
    key = new_key()
    connection.one("RPUSH", KEY, b"\xff{", encode_key_step(created(key)), encode_key_step(created(key)))
    log = KeyLog(connection)
    log.read()
    assert list(log.problems) == [1, 3]
    assert list(log.book.keys) == [key.id]


def test_a_history_longer_than_one_read_is_read_whole(connection: RedisConnection) -> None:
    key, count = new_key(), CHUNK_STEPS + 3
    again = encode_key_step(Rotated(at=NOW, by="ann", key=key.id, digest=key.digest, old_until=NOW))
    connection.one("RPUSH", KEY, encode_key_step(created(key)), *[again] * count)
    log = KeyLog(connection)
    log.read()
    assert log.book.version == count + 1
    assert len(list(log.steps())) == count + 1


def test_a_feed_obeys_within_a_second_and_keeps_what_it_has_without_redis(tmp_path: Any) -> None:
    assert REFRESH_INTERVAL_S + 2 * TIMEOUT_MS / 1000 < 1
    with EmbeddedRedis(tmp_path) as server:
        feed = KeyFeed(KeyLog(RedisConnection(server.url)))
        first, second = new_key(), new_key()
        with RedisConnection(server.url) as connection:
            log = KeyLog(connection)
            log.append(created(first))
            log.append(created(second))
            feed.start()
            assert is_taken(feed, first)
            log.append(Revoked(at=NOW, by="ann", key=first.id))
            until(lambda: not is_taken(feed, first))
        server.stop()
        until(lambda: bool(feed.problem))
        assert is_taken(feed, second)
        server.start()
        with RedisConnection(server.url) as connection:
            KeyLog(connection).append(Revoked(at=NOW, by="ann", key=second.id))
        until(lambda: not is_taken(feed, second))
        feed.stop()


def test_without_redis_there_never_was_a_table() -> None:
    feed = KeyFeed(KeyLog(RedisConnection("redis://127.0.0.1:1/0")))
    feed.refresh()
    assert feed.current is None
    assert "127.0.0.1:1" in feed.problem


def is_taken(feed: KeyFeed, key: NewKey) -> bool:
    assert feed.current is not None
    try:
        return feed.current.find(key.text.encode(), NOW_S).id == key.id
    except NotKnown:
        return False
