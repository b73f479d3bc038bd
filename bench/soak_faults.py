"""The soak's faults: each has a real cause, lasts some seconds, and is over when its function returns."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from headrace.stack import Stack
from models.registry import ARTIFACT
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.connection import RedisConnection

PAUSED_S = 3.0
DOWN_S = 1.0
FULL_S = 4.0
SLOW_S = 4.0
FLOOD_S = 5.0
FLOOD_TIMES = 3.0
SEEN_WITHIN_S = 15.0


class FaultFailed(RuntimeError):
    """The system did not answer a fault as it promises, in a way that the counts cannot show."""


@dataclass(frozen=True)
class Fault:
    """`act` causes it, ends it, and says in a few words what was seen. Raises `FaultFailed`."""

    name: str
    act: Callable[[Stack, str], str]
    kills: bool = False
    """It ends a process whose memory is watched: such faults come in the first half, so that the next one lives."""


def redis_stands_still(stack: Stack, url: str) -> str:
    """SIGSTOP: connections stay open and nothing answers."""
    pid = _redis(stack)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(PAUSED_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    return f"SIGSTOP for {PAUSED_S:g} s"


def redis_killed(stack: Stack, url: str) -> str:
    """SIGKILL, then a start from its file."""
    assert stack.redis is not None
    stack.redis.kill()
    time.sleep(DOWN_S)
    began_s = time.monotonic()
    stack.redis.start()
    return f"SIGKILL, away for {DOWN_S:g} s, {time.monotonic() - began_s:.1f} s to load its file"


def worker_killed(stack: Stack, url: str) -> str:
    """SIGKILL, then another."""
    return _killed(stack, "worker-0", "worker")


def learner_killed(stack: Stack, url: str) -> str:
    """SIGKILL, then another."""
    return _killed(stack, "learner", "learn")


def service_killed(stack: Stack, url: str) -> str:
    """SIGKILL while Redis stands still: what it has answered then is in its spool alone."""
    pid = _redis(stack)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(DOWN_S)
        stack.children.pop("service").kill()
        left = sum(file.read_bytes().count(b"\n") for file in (stack.home / "spool" / FRAUD.name).glob("*.spool"))
    finally:
        os.kill(pid, signal.SIGCONT)
    began_s = time.monotonic()
    stack.start_service()
    return f"SIGKILL with {left} answers in its spool, {time.monotonic() - began_s:.1f} s to start"


def champion_swapped(stack: Stack, url: str) -> str:
    """Another version, registered and promoted while scores go on."""
    version = _champion(stack, "swapped")
    began_s = time.monotonic()
    # The name of the version is in the metrics of those who score with it.
    _until(lambda: f'version="{version}"' in _metrics(url), f"no process scores with {version}")
    return f"{version} scores {time.monotonic() - began_s:.1f} s after its promotion"


def champion_corrupt(stack: Stack, url: str) -> str:
    """A champion whose file is no model: it must be refused and the one before must stay."""
    registry = registry_of(stack.home)
    before = registry.resolve(FRAUD.name)
    version = _champion(stack, "corrupt", spoilt=True)
    try:
        _until(lambda: _problems(url) > 0, "the service does not say that its champion is corrupt")
        if f'version="{version}"' in _metrics(url):
            raise FaultFailed(f"the corrupt {version} was taken")
    finally:
        registry.alias(FRAUD.name, "champion", before, by="soak", why="back from the corrupt one")
    _until(lambda: _problems(url) == 0, "the service does not say that its champion is well again")
    return "refused, the one before it stayed"


def redis_full(stack: Stack, url: str) -> str:
    """`maxmemory` below what it uses: it refuses writes, and evicts nothing."""
    with RedisConnection(str(stack.settings.redis)) as connection:
        connection.one("CONFIG", "SET", "maxmemory", "1mb")
        try:
            time.sleep(FULL_S)
        finally:
            connection.one("CONFIG", "SET", "maxmemory", "0")
    return f"maxmemory 1mb for {FULL_S:g} s"


def redis_slow(stack: Stack, url: str) -> str:
    """Writes stop for 200 ms, again and again."""
    end_s = time.monotonic() + SLOW_S
    with RedisConnection(str(stack.settings.redis)) as connection:
        while time.monotonic() < end_s:
            connection.one("CLIENT", "PAUSE", 200, "WRITE")
            time.sleep(0.4)
    return f"CLIENT PAUSE 200 WRITE every 0.4 s for {SLOW_S:g} s"


def flood(stack: Stack, url: str) -> str:
    """More calls than can be answered: the clients know when, this waits."""
    time.sleep(FLOOD_S)
    return f"{FLOOD_TIMES:g} times the rate for {FLOOD_S:g} s"


FAULTS = (
    Fault("Redis stands still", redis_stands_still),
    Fault("Redis killed", redis_killed, kills=True),
    Fault("worker killed", worker_killed, kills=True),
    Fault("learner killed", learner_killed, kills=True),
    Fault("service killed", service_killed, kills=True),
    Fault("champion swapped", champion_swapped),
    Fault("corrupt champion", champion_corrupt),
    Fault("Redis out of memory", redis_full),
    Fault("flood", flood),
    Fault("Redis slow", redis_slow),
)
BY_NAME = {fault.name: fault for fault in FAULTS}


def in_order(seed: int) -> list[Fault]:
    """All of them, shuffled: first those that kill, then the others."""
    random = Random(seed)
    killing = [fault for fault in FAULTS if fault.kills]
    others = [fault for fault in FAULTS if not fault.kills]
    random.shuffle(killing)
    random.shuffle(others)
    return killing + others


def _redis(stack: Stack) -> int:
    assert stack.redis is not None
    return stack.redis.pid


def _killed(stack: Stack, name: str, *arguments: str) -> str:
    stack.children.pop(name).kill()
    time.sleep(DOWN_S)
    stack.start(name, *arguments)
    return f"SIGKILL, away for {DOWN_S:g} s"


def _champion(stack: Stack, name: str, spoilt: bool = False) -> str:
    """Register the present champion's model as another version and promote that."""
    registry = registry_of(stack.home)
    present = registry.resolve(FRAUD.name)
    content = (registry.path(FRAUD.name, present) / ARTIFACT).read_bytes()
    manifest = msgspec.structs.replace(registry.manifest(FRAUD.name, present), version=f"soak-{name}-{time.time_ns()}")
    version = registry.register(content, manifest)
    if spoilt:
        (registry.path(FRAUD.name, version) / ARTIFACT).write_bytes(content[: len(content) // 2])
    registry.alias(FRAUD.name, "champion", version, by="soak", why=name)
    return version


def _problems(url: str) -> float:
    for line in _metrics(url).splitlines():
        if line.startswith('headrace_feed_problems{feed="models"}'):
            return float(line.rpartition(" ")[2])
    return 0.0


def _metrics(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    end_s = time.monotonic() + SEEN_WITHIN_S
    while not condition():
        if time.monotonic() > end_s:
            raise FaultFailed(f"{otherwise} after {SEEN_WITHIN_S:g} s")
        time.sleep(0.25)
