"""Exactly-once effect under fire: processes are killed, join, leave and come back while a stream runs through.

`python -m tests.scenarios.fire` runs it by hand; `HEADRACE_FIRE_EVENTS` says how many events.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

from features.fraud import FRAUD
from features.online_store import RedisOnlineStore
from features.pipeline import GROUP
from features.store_plan import PENDING_PREFIX
from headrace.assembly import open_log, open_online_store, open_outbox
from headrace.settings import Settings
from headrace.stack import Stack
from stream.child import Child
from stream.connection import Command, RedisError, RedisUnavailable
from stream.kafka_node import KafkaNode
from stream.log import Log, LogUnavailable, Message, lag, message_of
from stream.records import Label, Record, Transaction
from stream.relay import GROUP as RELAY_GROUP
from tests.scenarios.fire_oracle import Comparison, compare
from tests.scenarios.fire_plan import Plan, plan
from tests.scoring.conftest import PLAN

ROOT = Path(__file__).parent.parent.parent
TOPICS = (Transaction.topic, Label.topic)
BATCH = 100
CYCLE = 20_000
"""So many events pass while the fire's incidents happen once; a longer stream sees them again and again."""
REDIS_DOWN_S = 0.7
BROKER_DOWN_S = 2.0
ZOMBIE_S = 12.0
"""Longer than a lease (10 s) and a Kafka session (6 s): another has the partitions when it wakes."""
APPEND_LIMIT_S = 240.0
DRAIN_LIMIT_S = 240.0


@dataclass
class Outcome:
    """What happened, and what it left behind."""

    events: int = 0
    labels: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    appended_again: int = 0
    """Records of batches that were repeated since it was not certain that they had been written."""
    kills: int = 0
    restarts: int = 0
    rebalances: int = 0
    """Times that a worker joined, left or was killed, the first two apart."""
    zombies: int = 0
    """Workers that stood still until others had their partitions, then went on."""
    redis_kills: int = 0
    relay_kills: int = 0
    broker_kills: int = 0
    ended_by_themselves: int = 0
    lost: int = 0
    counted_twice: int = 0
    left_pending: int = 0
    entities_exact: int = 0
    entities_beyond_budget: int = 0
    differences: int = 0
    seconds: float = 0.0

    def take(self, found: Comparison) -> None:
        """What the comparison found."""
        self.lost, self.counted_twice, self.left_pending = found.lost, found.doubled, found.pending
        self.entities_exact, self.entities_beyond_budget = found.exact, found.beyond
        self.differences = len(found.wrong)

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:.10g}" for name, value in asdict(self).items())


def prepared(home: Path) -> Settings:
    """Settings of a home with a plan; what is acknowledged is on the disk."""
    PLAN.save(home / "plan.json")
    return Settings({"home": home, "appendfsync": "always"}, {})


class Fire:
    """One run over a stack whose Redis runs, with Kafka where a node is given."""

    def __init__(self, stack: Stack, stream: Plan, seed: int, rate: float, node: KafkaNode | None = None) -> None:
        self.stack = stack
        self.stream = stream
        self.random = Random(seed)
        self.rate = rate
        self.node = node
        self.outcome = Outcome(
            events=sum(isinstance(record, Transaction) for record in stream.unique),
            labels=sum(isinstance(record, Label) for record in stream.unique),
            duplicates=stream.duplicates,
            out_of_order=stream.late,
        )
        self.due: list[tuple[int, Callable[[], None]]] = []
        self.beside = ThreadPoolExecutor(16)
        self.mending: list[Future[object]] = []
        self.joined = 0

    def run(self) -> Comparison:
        """Append under fire, wait until all is folded, compare."""
        began = time.monotonic()
        self._join()
        self._join()
        self.outcome.rebalances = 0
        if self.node is not None:
            self.stack.start("relay", "relay")
        self._plan_incidents()
        with closing(open_outbox(self.stack.settings)) as outbox:
            store = open_online_store(self.stack.settings)
            arrivals = self.stream.arrivals
            for start in range(0, len(arrivals), BATCH):
                self._happen(start)
                batch = arrivals[start : start + BATCH]
                shown = self.random.sample(batch, len(batch) // 5)
                self._insist(partial(show, store, shown))
                self._insist(partial(outbox.append, messages(batch)), len(batch))
                time.sleep(max(0.0, began + (start + BATCH) / self.rate - time.monotonic()))
            self._happen(sys.maxsize)
            self._drain(outbox)
            self.beside.shutdown()
            for child in self.stack.children.values():
                child.stop(60)
            with closing(store.connection):
                found = compare(store, self.stream.unique, self.stream.end_us)
        self.outcome.seconds = round(time.monotonic() - began, 1)
        self.outcome.take(found)
        return found

    def _plan_incidents(self) -> None:
        size = len(self.stream.arrivals)
        cycles = max(1, size // CYCLE)
        incidents = [self._kill, self._join, self._kill_redis, self._kill, self._leave, self._kill_all]
        incidents.append(self._pause)
        if self.node is not None:
            incidents += [self._kill_relay, self._kill_broker, self._kill_relay]
        for cycle in range(cycles):
            self.random.shuffle(incidents)
            for turn, incident in enumerate(incidents):
                share = (cycle + (turn + self.random.random()) / len(incidents)) / cycles
                self.due.append((int(share * size), incident))
        # After the last append, while the backlog is folded.
        self.due.append((size, self._kill))

    def _happen(self, place: int) -> None:
        self._supervise()
        self.due.sort(key=lambda pair: pair[0])
        while self.due and self.due[0][0] <= place:
            time.sleep(self.random.uniform(0, 0.05))
            self.due.pop(0)[1]()
        for mended in [one for one in self.mending if one.done()]:
            self.mending.remove(mended)
            mended.result()

    def _workers(self) -> list[str]:
        return sorted(name for name in self.stack.children if name.startswith("worker"))

    def _start_worker(self) -> None:
        self.joined += 1
        self.stack.start(f"worker-{self.joined}", "worker")

    def _join(self) -> None:
        self.outcome.rebalances += 1
        self._start_worker()

    def _leave(self) -> None:
        if len(self._workers()) > 1:
            self.outcome.rebalances += 1
            name = self.random.choice(self._workers())
            child = self.stack.children.pop(name)
            self.mending.append(self.beside.submit(child.stop, 10))

    def _kill(self) -> None:
        self._kill_worker(self.random.choice(self._workers()))

    def _kill_all(self) -> None:
        for name in self._workers():
            self._kill_worker(name)

    def _kill_worker(self, name: str) -> None:
        self.stack.children.pop(name).kill()
        self._start_worker()
        self.outcome.kills += 1
        self.outcome.restarts += 1
        self.outcome.rebalances += 2

    def _pause(self) -> None:
        child = self.stack.children[self.random.choice(self._workers())]
        os.kill(child.pid, signal.SIGSTOP)
        self.outcome.zombies += 1
        self.mending.append(self.beside.submit(_later, ZOMBIE_S, partial(_wake, child)))

    def _kill_relay(self) -> None:
        self.stack.children.pop("relay").kill()
        self.stack.start("relay", "relay")
        self.outcome.relay_kills += 1

    def _kill_redis(self) -> None:
        redis = self.stack.redis
        assert redis is not None
        redis.kill()
        self.outcome.redis_kills += 1
        self.mending.append(self.beside.submit(_later, REDIS_DOWN_S, redis.start))

    def _kill_broker(self) -> None:
        assert self.node is not None
        self.node.kill()
        self.outcome.broker_kills += 1
        self.mending.append(self.beside.submit(_later, BROKER_DOWN_S, self.node.start))

    def _supervise(self) -> None:
        for name, child in list(self.stack.children.items()):
            if not child.running:
                # As systemd or Kubernetes would.
                self.outcome.ended_by_themselves += 1
                self.stack.start(name, "relay" if name == "relay" else "worker")

    def _insist(self, act: Callable[[], object], records: int = 0) -> None:
        end = time.monotonic() + APPEND_LIMIT_S
        while True:
            try:
                act()
                return
            except (LogUnavailable, RedisUnavailable, RedisError):
                assert time.monotonic() < end, "Redis did not come back"
                self.outcome.appended_again += records
                self._happen(0)
                time.sleep(0.1)

    def _drain(self, outbox: Log) -> None:
        end = time.monotonic() + DRAIN_LIMIT_S
        while self.mending or not self._drained(outbox):
            assert time.monotonic() < end, f"not drained: {[c.log_tail() for c in self.stack.children.values()]}"
            self._happen(0)
            time.sleep(0.2)

    def _drained(self, outbox: Log) -> bool:
        try:
            if self.node is not None and not drained(outbox, RELAY_GROUP):
                return False
            with closing(open_log(self.stack.settings)) as log:
                return drained(log, GROUP)
        except LogUnavailable:
            return False


def _wake(child: Child) -> None:
    if child.running:
        os.kill(child.pid, signal.SIGCONT)


def _later(pause_s: float, act: Callable[[], object]) -> None:
    time.sleep(pause_s)
    act()


def show(store: RedisOnlineStore, records: Sequence[Record]) -> None:
    """Let readers see them, as the scorer does; before they are appended, so that each is folded afterwards."""
    commands: list[Command] = [
        ("HSET", store.key(ref), PENDING_PREFIX + record.identity.encode(), rows)
        for record in records
        for ref, rows in FRAUD.pending(record).items()
    ]
    for reply in store.connection.call(commands):
        if isinstance(reply, RedisError):
            raise reply


def messages(records: Sequence[Record]) -> list[Message]:
    """As the log takes them."""
    return [message_of(record) for record in records]


def drained(log: Log, group: str) -> bool:
    """Whether the group has read all that is there."""
    return not any(any(lag(log, group, topic).values()) for topic in TOPICS)


def run_fire(home: Path, events: int, seed: int, rate: float, kafka: bool = False) -> tuple[Outcome, Comparison]:
    """A whole run in a home of its own: real processes, real servers, all ended when it returns."""
    with ExitStack() as opened:
        stack = opened.enter_context(Stack(prepared(home)))
        stack.start_redis()
        node = opened.enter_context(KafkaNode(home / "kafka")) if kafka else None
        if node is not None:
            stack.use_kafka(node.bootstrap)
        fire = Fire(stack, plan(events, seed), seed, rate, node)
        opened.callback(fire.beside.shutdown)
        found = fire.run()
    return fire.outcome, found


def run_spoilt(home: Path, events: int, seed: int, sabotage: str, instant: str) -> Comparison:
    """A worker that dies at the instant in its first batch, then one that does not; both spoilt alike."""
    stream = plan(events, seed)
    with Stack(prepared(home)) as stack:
        stack.start_redis()
        with closing(open_outbox(stack.settings)) as outbox:
            store = open_online_store(stack.settings)
            show(store, stream.arrivals[::5])
            outbox.append(messages(stream.arrivals))
            if instant != "never":
                dying = start_worker(stack, "dying", "--sabotage", sabotage, "--instant", instant)
                assert dying.wait(180), "it did not die"
                del stack.children["dying"]
            living = start_worker(stack, "living", "--sabotage", sabotage)
            end = time.monotonic() + DRAIN_LIMIT_S
            while not drained(outbox, GROUP):
                assert living.running and time.monotonic() < end, living.log_tail()
                time.sleep(0.1)
            living.stop(60)
            with closing(store.connection):
                return compare(store, stream.unique, stream.end_us)


def start_worker(stack: Stack, name: str, *options: str) -> Child:
    """The tests' own worker, as a child of the stack."""
    logs = stack.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.scenarios.fire_worker", *options]
    environment = stack.settings.environment() | {"PYTHONPATH": str(ROOT)}
    stack.children[name] = Child(command, (logs / f"{name}.log").resolve(), environment=environment)
    return stack.children[name]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        count = int(os.environ.get("HEADRACE_FIRE_EVENTS", "20000"))
        outcome, found = run_fire(Path(scratch), count, 1, 1500.0, kafka="kafka" in sys.argv)
        print(outcome, *found.wrong[:5], sep="\n")
