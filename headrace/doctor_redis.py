"""What `headrace doctor` asks of the Redis server: whether it keeps what it is told, has room, and answers in time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from headrace.finding import Finding, graded
from stream.connection import RedisConnection, RedisError

ROUND_TRIPS = 100
OLDEST_VERSION = (6, 2)
SCORE_ROUND_TRIPS = 2
"""A score reads in one round trip and commits in another."""
SKEW_WARN_MS = 1000.0


def examine_redis(connection: RedisConnection, deadline_ms: float, clock_skew_ms: float) -> Iterator[Finding]:
    """Everything about a server that answers. Raises `RedisUnavailable` when it ceases to."""
    info = read_info(connection.one("INFO"))
    yield judge_version(info)
    yield from judge_role(info)
    yield from judge_durability(info, config(connection, "appendfsync"))
    yield from judge_memory(info)
    yield judge_latency(round_trips_ms(connection), deadline_ms)
    yield judge_clock(ahead_ms(connection), clock_skew_ms)


def read_info(reply: bytes) -> dict[str, str]:
    """The reply to INFO as names and values.

    >>> read_info(b"# Server\\r\\nredis_version:7.4.1\\r\\n")
    {'redis_version': '7.4.1'}
    """
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def config(connection: RedisConnection, name: str) -> str | None:
    """One setting of the server; None where it does not tell, as managed servers may not."""
    try:
        found = connection.one("CONFIG", "GET", name)
    except RedisError:
        return None
    return found[1].decode() if found else None


def judge_version(info: Mapping[str, str]) -> Finding:
    """Whether the server is new enough for the log's commands."""
    text = info.get("redis_version", "0")
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    oldest = ".".join(map(str, OLDEST_VERSION))
    if version < OLDEST_VERSION:
        return Finding("FAIL", "redis version", f"{text} is too old", f"install Redis {oldest} or newer")
    return Finding("OK", "redis version", text)


def judge_role(info: Mapping[str, str]) -> Iterator[Finding]:
    """Nothing where it is one writable server, which is what the scorer's script needs."""
    if info.get("cluster_enabled") == "1":
        yield Finding(
            "FAIL",
            "redis role",
            "this is a Redis Cluster, and a decision is written to keys of several slots",
            "point HEADRACE_REDIS to a server that is not a cluster",
        )
    if info.get("role", "master") != "master":
        yield Finding(
            "FAIL", "redis role", "this is a replica, which takes no writes", "point HEADRACE_REDIS to its primary"
        )


def judge_durability(info: Mapping[str, str], appendfsync: str | None) -> Iterator[Finding]:
    """Whether an answer survives a restart of the server, and of its machine."""
    subject = "redis disk"
    if info.get("aof_enabled") != "1":
        remedy = "run 'redis-cli CONFIG SET appendonly yes', and put 'appendonly yes' into its configuration"
        yield Finding("FAIL", subject, "append-only is off: a restart loses answered events", remedy)
        return
    if info.get("aof_last_write_status", "ok") != "ok":
        words = "the server cannot write its append-only file, and refuses all writes"
        yield Finding("FAIL", subject, words, "make room on its disk; its log has the error")
        return
    lost = {
        "always": Finding("OK", subject, "append-only on, flushed with every answer"),
        "everysec": Finding(
            "OK", subject, "append-only on, flushed every second: a crash can lose the last one or two"
        ),
        "no": Finding(
            "WARN",
            subject,
            "append-only on, but never flushed: a crash of the machine can lose half a minute",
            "run 'redis-cli CONFIG SET appendfsync everysec', or always",
        ),
    }
    unknown = Finding(
        "WARN", subject, "append-only on; the server does not tell how often it flushes", "ask its keeper"
    )
    yield unknown if appendfsync is None else lost.get(appendfsync, unknown)


def judge_memory(info: Mapping[str, str]) -> Iterator[Finding]:
    """Whether there is room, and that a full server refuses instead of forgetting."""
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        words = f"maxmemory-policy is {policy}: a full server silently deletes histories and records nobody has read"
        remedy = "run 'redis-cli CONFIG SET maxmemory-policy noeviction', and put that into its configuration"
        yield Finding("FAIL" if limit else "WARN", "redis memory", words, remedy)
    room, whose = (limit, "maxmemory") if limit else (int(info.get("total_system_memory", 0)), "the machine's memory")
    if not room:
        yield Finding("WARN", "redis memory", "the server does not tell how much it may use", "set its maxmemory")
        return
    words = f"{used / 2**20:,.0f} MiB of {room / 2**20:,.0f} MiB ({whose}) used, {used / room:.0%}"
    remedy = "give it more, or shorten HEADRACE_ANSWER_RETENTION and HEADRACE_LOG_RETENTION"
    yield graded(used / room, 0.75, 0.92, "redis memory", words, remedy)


def round_trips_ms(connection: RedisConnection, count: int = ROUND_TRIPS) -> list[float]:
    """How long so many round trips took, each alone, after one that connects."""
    connection.one("PING")
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        connection.one("PING")
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def judge_latency(taken_ms: Sequence[float], deadline_ms: float) -> Finding:
    """Whether the round trips of a score leave most of its deadline.

    >>> judge_latency([0.2] * 100, 50.0).line()
    'OK    redis latency 100 round trips: p50 0.20 ms, p99 0.20 ms'
    """
    ordered = sorted(taken_ms)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    words = f"{len(ordered)} round trips: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    remedy = "bring the service nearer to Redis, see what else loads its machine, or raise HEADRACE_DEADLINE"
    if SCORE_ROUND_TRIPS * p50 >= deadline_ms:
        words += f"; a score needs {SCORE_ROUND_TRIPS} within {deadline_ms:g} ms, so most answers will be degraded"
        return Finding("FAIL", "redis latency", words, remedy)
    if SCORE_ROUND_TRIPS * p99 >= deadline_ms / 2:
        words += f"; one score in a hundred spends half of its {deadline_ms:g} ms there"
        return Finding("WARN", "redis latency", words, remedy)
    return Finding("OK", "redis latency", words)


def ahead_ms(connection: RedisConnection) -> float:
    """How far this machine's clock is ahead of Redis's, as of the middle of the round trip."""
    before = time.time()
    seconds, micros = connection.one("TIME")
    middle = (before + time.time()) / 2
    return (middle - (int(seconds) + int(micros) / 1e6)) * 1000


def judge_clock(ahead: float, clock_skew_ms: float) -> Finding:
    """Whether this machine and Redis's agree on the time.

    >>> judge_clock(-2500.0, 60_000.0).level
    'WARN'
    """
    words = f"this machine is {abs(ahead):,.0f} ms {'ahead of' if ahead > 0 else 'behind'} Redis"
    remedy = "synchronise both clocks (NTP); an event further in the future than HEADRACE_CLOCK_SKEW is refused"
    warn_at = min(SKEW_WARN_MS, clock_skew_ms / 2)
    return graded(abs(ahead), warn_at, max(clock_skew_ms, warn_at), "clock", words, remedy)
