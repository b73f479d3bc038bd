"""Servers for tests: started once a session (or pytest-xdist worker), real, and gone with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# Two processes of tests on two cores: each thread more only waits for the others, and OpenMP waits by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from stream.connection import RedisConnection
from stream.embedded_redis import EmbeddedRedis
from stream.kafka_node import KafkaNode, kafka_available
from tests.unhurried import unhurried

# A machine that is busy is no reason to fail: what an example may take, and how long drawing it, are not bounded.
hypothesis_settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Hundreds of processes import the same modules: let them keep what they compile, whatever the environment says."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Variants that prove again, at more points, what another test proves already run when they are asked for."""
    parser.addoption("--thorough", action="store_true", help="also run the variants marked thorough")


@pytest.hookimpl(tryfirst=True, specname="pytest_collection_modifyitems")
def pytest_leave_out_thorough(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked `thorough`, unless `--thorough` is given: no promise has its only test there."""
    if config.getoption("--thorough"):
        return
    thorough = [item for item in items if item.get_closest_marker("thorough")]
    if thorough:
        config.hook.pytest_deselected(items=thorough)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first. Processes of pytest-xdist take whole files in this order, so they end together.

    A file is one process's, and what its tests share is made once; marks of groups are not heeded by every release.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("kafka")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _unhurried() -> Iterator[None]:
    """What is not about a time has as much as a busy machine needs."""
    with unhurried():
        yield


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
def kafka() -> None:
    """For who starts a node of its own. Skips where none can be had, unless HEADRACE_REQUIRE_KAFKA=1 demands it."""
    reason = kafka_available()
    if reason is not None:
        if os.environ.get("HEADRACE_REQUIRE_KAFKA") == "1":
            raise RuntimeError(f"HEADRACE_REQUIRE_KAFKA is set: {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_node(kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """The session's Kafka node; started where somebody asks for it, as that takes ten seconds of a core."""
    with KafkaNode(tmp_path_factory.mktemp("kafka")) as node:
        yield node
