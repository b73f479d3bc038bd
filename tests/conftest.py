"""Servers for tests: started once a session (or pytest-xdist worker), real, and gone with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Two processes of tests on two cores: each thread more only waits for the others, and OpenMP waits by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.kafka_node import KafkaNode, kafka_available


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the one Kafka node run in one process of pytest-xdist."""
    for item in items:
        if item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The session's embedded Redis. A test that stops or kills one starts its own instead."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Its database 0, with whatever earlier tests left there."""
    return redis_server.url


@pytest.fixture
def redis_db(redis_url: str) -> str:
    """The URL of database 0 of a server that is empty when the test begins."""
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHALL")
    return redis_url


@pytest.fixture
def other_redis_db(redis_db: str) -> str:
    """A second empty database of the same server."""
    return redis_db.replace("/0", "/1", 1)


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """The session's Kafka node. Skips where none can be had, unless HEADRACE_REQUIRE_KAFKA=1 demands it."""
    reason = kafka_available()
    if reason is not None:
        if os.environ.get("HEADRACE_REQUIRE_KAFKA") == "1":
            raise RuntimeError(f"HEADRACE_REQUIRE_KAFKA is set: {reason}")
        pytest.skip(reason)
    with KafkaNode(tmp_path_factory.mktemp("kafka")) as node:
        yield node
