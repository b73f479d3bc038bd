"""The soak's clients, in a process of their own: an open loop at a rate (or a closed one) that does not give up soon.

`python -m bench.soak_load PLAN CALLS JOURNAL` sends the calls, one a line, and writes what became of each, one a line.
Latency counts from when a call was due: a stall is not forgiven, nor is the time of the tries before the last. What
can help is sent again with the same ids: after a 503 (`Retry-After`, but not longer than `PAUSE_LIMIT_S`), a dropped
connection, and no answer within `TIMEOUT_S` (of a batch `BATCH_TIMEOUT_S`); at most `TRIES` times.
"""

from __future__ import annotations

import asyncio
import heapq
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import msgspec

from bench.soak_call import Answered, Call, Said, answers_of
from bench.soak_connection import Connection, Sending

TRIES = 60
TIMEOUT_S = 2.0
BATCH_TIMEOUT_S = 8.0
"""Longer than the service may take for one (`HEADRACE_BATCH_DEADLINE`): giving up earlier only makes it do more."""
PAUSE_LIMIT_S = 0.5
RECONNECT_S = 0.2
TICK_S = 0.002
AFTERMATH_S = 300.0
"""How long after the last call the clients go on with what is not answered yet."""


class LoadPlan(msgspec.Struct, frozen=True):
    """`rate` calls a second for `seconds`, `floods` times as many between two moments; 0 is a closed loop.

    `starts_at_s` is by `time.monotonic`, which all processes of a machine share.
    """

    url: str
    clients: int
    rate: float
    seconds: float
    starts_at_s: float
    floods: list[tuple[float, float, float]] = []


class Unanswered(RuntimeError):
    """The load could not be driven: what its process said last."""


def start_load(plan: LoadPlan, calls: Path, journal: Path) -> subprocess.Popen[bytes]:
    """Begin a load in another process."""
    plan_file = journal.with_suffix(".plan")
    plan_file.write_bytes(msgspec.json.encode(plan))
    command = [sys.executable, "-m", "bench.soak_load", str(plan_file), str(calls), str(journal)]
    with _log_of(journal).open("wb") as log:
        return subprocess.Popen(command, cwd=Path(__file__).parent.parent, stderr=log)


def ended(load: subprocess.Popen[bytes], journal: Path) -> list[Said]:
    """Wait for a load, and read its journal. Raises `Unanswered` where it failed."""
    if load.wait():
        raise Unanswered(_log_of(journal).read_text().strip().rpartition("\n")[2])
    decoder = msgspec.json.Decoder(Said)
    with journal.open("rb") as lines:
        return [decoder.decode(line) for line in lines]


class _Run:
    """All clients of one load."""

    def __init__(self, plan: LoadPlan, calls: Iterator[Call], journal: BinaryIO) -> None:
        self.plan = plan
        self.calls = calls
        self.journal = journal
        parts = urlsplit(plan.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.idle: deque[Connection] = deque()
        self.connections: set[Connection] = set()
        self.connecting: set[asyncio.Future[None]] = set()
        self.due: deque[Sending] = deque()
        self.again: list[tuple[float, int, Sending]] = []
        self.open = 0
        self.count = 0
        self.next_due_s = 0.0
        self.exhausted = False

    def now_s(self) -> float:
        return time.monotonic() - self.plan.starts_at_s

    async def drive(self) -> None:
        """Until the time is over and everything is answered or given up."""
        for _ in range(self.plan.clients):
            self._keep_connected()
        await asyncio.sleep(max(0.0, -self.now_s()))
        while not self.exhausted or self.open:
            now_s = self.now_s()
            self._take_due(now_s)
            self._send_due(now_s)
            self._give_up_waiting()
            if now_s > self.plan.seconds + AFTERMATH_S:
                break
            await asyncio.sleep(TICK_S)
        for task in self.connecting:
            task.cancel()

    def _take_due(self, now_s: float) -> None:
        if now_s >= self.plan.seconds:
            self.exhausted = True
        while not self.exhausted:
            if self.plan.rate == 0:
                if len(self.due) >= len(self.idle):
                    return
                self.next_due_s = now_s
            elif self.next_due_s > now_s:
                return
            call = next(self.calls, None)
            if call is None:
                self.exhausted = True
                return
            self.due.append(Sending(call, self.next_due_s, f"{self.host}:{self.port}"))
            self.open += 1
            if self.plan.rate:
                times = next((more for begin, end, more in self.plan.floods if begin <= self.next_due_s < end), 1.0)
                self.next_due_s += 1 / (self.plan.rate * times)

    def _send_due(self, now_s: float) -> None:
        while self.again and self.again[0][0] <= now_s:
            self.due.appendleft(heapq.heappop(self.again)[2])
        while self.due and self.idle:
            connection = self.idle.popleft()
            if connection.is_open:
                connection.send(self.due.popleft())

    def _give_up_waiting(self) -> None:
        now_s = time.monotonic()
        for one in self.connections:
            if one.sending is None or one.why_lost == "timeout":
                continue
            limit_s = BATCH_TIMEOUT_S if one.sending.call.kind == "batch" else TIMEOUT_S
            if now_s - one.sent_s > limit_s:
                one.abandon()

    def free(self, connection: Connection) -> None:
        """It takes the next call that is due."""
        self.idle.append(connection)

    def answered(self, sending: Sending, status: int, body: bytes, retry_after_s: float) -> None:
        """An answer of whatever kind."""
        answers = answers_of(sending.call, status, body)
        if status in (502, 503, 504) or any(one.status == 503 for one in answers):
            self._once_more(sending, str(status if status != 200 else 503), min(retry_after_s or 0.1, PAUSE_LIMIT_S))
            return
        self._note(sending, status, answers)
        if self.plan.rate == 0:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        now_s = self.now_s()
        self._take_due(now_s)
        self._send_due(now_s)

    def lost(self, connection: Connection) -> None:
        """A new one takes its place."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.sending is not None:
            self._once_more(connection.sending, connection.why_lost, 0.05)
            connection.sending = None
        self._keep_connected()

    def _keep_connected(self) -> None:
        task = asyncio.ensure_future(self._connect())
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
                self.connections.add(connection)
                return
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    def _once_more(self, sending: Sending, why: str, pause_s: float) -> None:
        sending.tries += 1
        sending.refusals[why] = sending.refusals.get(why, 0) + 1
        if sending.tries >= TRIES:
            self._note(sending, 0, [])
            return
        self.count += 1
        heapq.heappush(self.again, (self.now_s() + pause_s, self.count, sending))

    def _note(self, sending: Sending, status: int, answers: list[Answered]) -> None:
        took_ms = (self.now_s() - sending.due_s) * 1000
        call = sending.call
        said = Said(call.kind, call.ids, sending.due_s, took_ms, status, answers, sending.refusals)
        self.journal.write(msgspec.json.encode(said) + b"\n")
        self.open -= 1

    def give_up(self) -> None:
        """Note what never had an answer."""
        held = [one.sending for one in self.connections if one.sending is not None]
        for sending in [*self.due, *(one for _, _, one in self.again), *held]:
            self._note(sending, 0, [])


def _log_of(journal: Path) -> Path:
    return journal.with_suffix(".log")


def _read(path: Path) -> Iterator[Call]:
    decoder = msgspec.json.Decoder(Call)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)


def main() -> None:
    """The process that `start_load` starts."""
    plan_file, calls, journal = map(Path, sys.argv[1:])
    plan = msgspec.json.decode(plan_file.read_bytes(), type=LoadPlan)

    async def drive() -> None:
        with journal.open("wb") as file:
            run = _Run(plan, _read(calls), file)
            await run.drive()
            run.give_up()

    asyncio.run(drive())


if __name__ == "__main__":
    main()
