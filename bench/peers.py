"""The same payments on one Kafka broker: our worker, and Quix Streams with windowed aggregates of the card.

Every release of Quix Streams holds pydantic below the version that the service's lock has, so the peer lives in a
virtual environment of its own, made on first use under `.bench/` from `requirements-bench.lock`.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import msgspec

from bench.feature_load import payments
from bench.figures import Figure, Figures, medians, not_measured
from bench.worker_process import fold_all
from features.duration import duration_us
from features.fraud import CARD, FRAUD
from headrace.settings import Settings
from stream.connection import RedisConnection
from stream.kafka_log import KafkaLog
from stream.kafka_node import KafkaNode, kafka_available
from stream.log import Message
from stream.records import Transaction, encode

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-bench.lock"
SCRIPT = Path(__file__).with_name("quix_peer.py")
TOPIC = "peer-transactions"
PARTITIONS = 4
INSTALL_TIMEOUT_S = 600.0
PEER_TIMEOUT_S = 600.0
Kind = Literal["sliding", "tumbling"]
KINDS: dict[Kind, str] = {
    "sliding": "the same windows, ending at each event; the answers for one card are checked",
    "tumbling": "aligned windows: cheaper, and not what ours answer",
}
OURS = f"3 entities, {sum(len(view.features) for view in FRAUD.views)} features, states in Redis at every batch"
THEIRS = "count, sum, mean and max of the card over 5 windows, states in RocksDB, a checkpoint each 5 s"
NOT_THE_SAME = (
    f"ours: {OURS}; theirs: {THEIRS}, so without merchant and device, without spread, distinct, share, decay, delay and"
    " place, and without an online store for others to read"
)
NAMES = ("worker on Kafka", *(f"Quix Streams, {kind}" for kind in KINDS))
RATIO = "worker over Quix Streams, sliding"
A_CORE, ON_THE_CLOCK = "a core", "on the clock"


class PeerMissing(RuntimeError):
    """The peer cannot be had here; the text says why."""


class Peer(msgspec.Struct):
    """What the peer's process printed."""

    events: int
    values: int
    cpu_s: float
    wall_s: float
    card: str
    newest: dict[str, dict[str, Any]]


def side_by_side(settings: Settings, home: Path, events: int, runs: int) -> Figures:
    """Our worker and the peer, `runs` times each; figures without a value where there is no broker or no peer.

    It empties the Redis of the settings.
    """
    reason = kafka_available()
    if reason is not None:
        return _without(NAMES, reason) | {RATIO: not_measured("times", "higher", reason)}
    with KafkaNode(home / "kafka") as node:
        _append(node.bootstrap, TOPIC, payments(events))
        return medians([_in_turn(settings, home, node.bootstrap, events, run) for run in range(runs)])


def _in_turn(settings: Settings, home: Path, bootstrap: str, events: int, run: int) -> Figures:
    # One after the other in each run, so that what else the machine does at the time touches both.
    figures = _ours(settings, home, bootstrap, events, run)
    for kind in KINDS:
        try:
            figures |= _theirs(peer_python(), kind, bootstrap, home, events)
        except PeerMissing as error:
            figures |= _without([f"Quix Streams, {kind}"], str(error))
    theirs = figures[f"{NAMES[1]}, {A_CORE}"]
    if math.isnan(theirs.value):
        return figures | {RATIO: msgspec.structs.replace(theirs, unit="times")}
    ratio = figures[f"{NAMES[0]}, {A_CORE}"].value / theirs.value
    note = f"by processor time, run by run; {NOT_THE_SAME}"
    return figures | {RATIO: Figure(ratio, "times", None, "higher", note)}


def peer_python() -> Path:
    """The interpreter of the peer's own environment, made if need be. Raises `PeerMissing`."""
    place = ROOT / ".bench" / f"quixstreams-{crc32(LOCK.read_bytes()):08x}"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        _run([sys.executable, "-m", "venv", "--clear", place], "its environment could not be made")
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", LOCK], "it could not be installed")
        (place / "ready").touch()
    return python


def _run(command: Sequence[str | Path], what: str, timeout_s: float = INSTALL_TIMEOUT_S) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"Quix Streams: {what}: {error}") from error
    if result.returncode:
        raise PeerMissing(f"Quix Streams: {what}: {(result.stderr or result.stdout).strip()[-400:]}")
    return result.stdout


def _ours(settings: Settings, home: Path, bootstrap: str, events: int, run: int) -> Figures:
    with RedisConnection(settings.redis) as connection:
        connection.one("FLUSHALL")
    _append(bootstrap, Transaction.topic, payments(events, seed=100 + run))
    mine = settings.but(kafka=bootstrap, partitions=PARTITIONS)
    found = fold_all(mine, events, home / f"kafka-worker-{run}.json")
    note = f"{found.records:,} events after the first batch; exactly once; {OURS}"
    return _pair(NAMES[0], found.per_cpu_s, found.per_s, note)


def _theirs(python: Path, kind: Kind, bootstrap: str, home: Path, events: int) -> Figures:
    command: list[str | Path] = [python, "-W", "ignore", SCRIPT, bootstrap, TOPIC, str(events), kind, str(home)]
    printed = _run(command, f"{kind} windows failed", PEER_TIMEOUT_S).splitlines()
    if not printed:
        raise PeerMissing("Quix Streams: it printed nothing")
    peer = msgspec.json.decode(printed[-1], type=Peer)
    if (peer.events, peer.values) != (events, events * len(CARD.windows)):
        raise PeerMissing(f"Quix Streams: it saw {peer.events} events and gave {peer.values} values")
    if kind == "sliding":
        check(peer, payments(events))
    note = f"{events:,} events, from the first on; exactly once; {KINDS[kind]}; {THEIRS}"
    return _pair(f"Quix Streams, {kind}", peer.events / peer.cpu_s, peer.events / peer.wall_s, note)


def _pair(name: str, per_cpu_s: float, per_s: float, note: str) -> Figures:
    beside = "one process, the broker beside it on the same cores"
    return {
        f"{name}, {A_CORE}": Figure(per_cpu_s, "events/s", None, "higher", f"by processor time; {note}"),
        f"{name}, {ON_THE_CLOCK}": Figure(per_s, "events/s", None, "higher", beside),
    }


def check(peer: Peer, records: Sequence[Transaction]) -> None:
    """Compute the newest windows of the peer's card from the plain records. Raises `PeerMissing` where they differ.

    Unlike ours, its windows include both ends.
    """
    own = [record for record in records if record.card_id == peer.card]
    end = own[-1].event_timestamp
    for window, found in peer.newest.items():
        length = timedelta(microseconds=duration_us(window))
        amounts = [record.amount for record in own if end - record.event_timestamp <= length]
        expected = {"count": len(amounts), "sum": sum(amounts), "max": max(amounts)}
        expected["mean"] = expected["sum"] / expected["count"]
        if any(abs(found[name] - value) > 1e-6 for name, value in expected.items()):
            raise PeerMissing(f"Quix Streams: {peer.card} within {window}: {found} instead of {expected}")


def _append(bootstrap: str, topic: str, records: Sequence[Transaction]) -> None:
    with closing(KafkaLog(bootstrap, partitions=PARTITIONS)) as log:
        log.append([Message(topic, record.key, encode(record)) for record in records])


def _without(names: Sequence[str], why: str) -> Figures:
    return {f"{name}, {a}": not_measured("events/s", "higher", why) for name in names for a in (A_CORE, ON_THE_CLOCK)}
