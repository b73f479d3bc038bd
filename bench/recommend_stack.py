"""A stack that recommends and nothing else, with a world in it: what the benches of slates begin with."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.recommend_world import World, register_ranker, remember
from headrace.assembly import open_online_store
from headrace.settings import Settings
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import RecommenderState
from stream.connection import RedisConnection


@contextmanager
def recommending_stack() -> Iterator[Stack]:
    """Its own Redis and a home that goes with it; no process of its service yet."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory,
        Stack(Settings({"home": Path(directory), "use_cases": "recommendation"})) as stack,
    ):
        stack.start_redis()
        yield stack


def furnish(
    stack: Stack, world: World, state: RecommenderState, applying: subprocess.Popen[bytes]
) -> tuple[int, float]:
    """Put a ranker, the state and the histories where the service looks, once the features are applied.

    The bytes of the snapshot and the seconds that writing it took. Raises `ChildProcessError`.
    """
    register_ranker(registry_of(stack.home))
    with RedisConnection(stack.settings.redis, timeout_ms=60_000) as connection:
        began_s = time.perf_counter()
        size = SnapshotStore(connection).save(state)
        took_s = time.perf_counter() - began_s
    _, errors = applying.communicate()
    if applying.returncode:
        raise ChildProcessError(errors.decode())
    store = open_online_store(stack.settings)
    with closing(store.connection):
        remember(store, world)
    return size, took_s
