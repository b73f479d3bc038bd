"""Reports that several feeds read in one round trip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import msgspec
import pytest

from scoring.published import SCRAPE_TIMEOUT_MS, PublishedTogether
from stream.connection import RedisConnection


class Report(msgspec.Struct, frozen=True):
    says: str


class Asked(PublishedTogether):
    """Remembers what Redis was asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[list[str]] = []

    def contents(self, keys: Sequence[str]) -> list[bytes | None] | None:
        self.asked.append(list(keys))
        return super().contents(keys)


def test_what_several_feeds_asked_for_is_read_at_once_from_then_on(redis_db: str) -> None:
    with closing(Asked(redis_db)) as published, RedisConnection(redis_db) as connection:
        connection.one("SET", "a", b'{"says":"one"}')
        published.renew()
        assert published.read(["a", "b"], Report) == [Report("one"), None]
        assert published.read(["c"], Report) == [None]
        connection.one("SET", "a", b'{"says":"two"}')
        connection.one("SET", "c", b"broken")
        assert published.read(["a"], Report) == [Report("one")], "as at the last renewal"
        published.renew()
        first = published.read(["a", "b", "c"], Report)
        assert first == [Report("two"), None, None]
        published.renew()
        assert published.read(["a"], Report)[0] is first[0], "what has not changed is not decoded again"
        assert published.asked == [["a", "b"], ["c"], ["a", "b", "c"], ["a", "b", "c"]]


def test_a_redis_that_is_away_is_asked_once_in_a_renewal_and_again_in_the_next(
    redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Asked("redis://127.0.0.1:1/0")) as published:
        published.renew()
        began_s = time.monotonic()
        assert [published.read([key], Report) for key in "abcdefgh"] == [[None]] * 8
        assert time.monotonic() - began_s < 8 * SCRAPE_TIMEOUT_MS / 1000
        assert published.asked == [["a"]]
        monkeypatch.setattr(published, "_connection", RedisConnection(redis_db))
        published.renew()
        published._connection.one("SET", "b", b'{"says":"back"}')
        assert published.read(["b"], Report) == [Report("back")]
