"""Play transactions through the HTTP API at a rate, with their labels as late as they really were."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

import msgspec

from headrace.link import Failures, Link
from stream.label_feed import LabelFeed
from stream.log import Log, Message, message_of
from stream.played import Played
from stream.records import Label, Transaction, encode
from training.replay import in_share

LANES = 4
LANE_QUEUE_LIMIT = 2000
BLOCK = 500


@dataclass
class ClientView:
    """What the client saw. `errors` were final; `sent_again` are requests that a later try got through or gave up."""

    scored: int = 0
    unscored: int = 0
    labels_sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    sent_again: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)


class _Answer(msgspec.Struct):
    outcome: str
    degraded: list[str] = []


class Player:
    """Sends scored transactions and their labels over HTTP; what is not scored enters at the log.

    A card's requests stay on one connection, in order. A request that fails is sent again, with the same event id
    (`Link`).
    """

    def __init__(
        self,
        url: str,
        use_case: str,
        log: Log,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        api_key: str | None = None,
    ) -> None:
        self._url = url
        self._api_key = api_key
        self._score_path = f"/{use_case}/score"
        self._log = log
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._lanes: list[queue.Queue[tuple[str, bytes] | None]] = [queue.Queue(LANE_QUEUE_LIMIT) for _ in range(LANES)]
        self._threads = [threading.Thread(target=self._drive, args=(lane,), daemon=True) for lane in self._lanes]
        self._feed = LabelFeed(limit=10_000_000)
        self._scored: set[str] = set()
        self.seen = ClientView()
        self._failures = Failures(self.seen.errors, self.seen.sent_again)

    def play(self, source: Iterator[Played], rate: float, seconds: float, events: int | None, feed: LabelFeed) -> None:
        """Play until the source, the seconds or the events are over, or `stop` is called. Blocks.

        `feed` holds the labels of transactions before the first: they become known on the way too.
        """
        self._feed = feed
        for thread in self._threads:
            thread.start()
        started = self._clock()
        block: list[Message] = []
        sent = 0
        try:
            for one in source:
                block += self._known_labels(one.transaction)
                if not in_share(one.transaction.card_id, self._share):
                    self._feed.add(one)
                    block.append(_message(one.transaction))
                    self.seen.unscored += 1
                    if len(block) >= BLOCK:
                        self._log.append(block)
                        block = []
                    continue
                if self._stop.is_set() or sent == events or self._clock() - started > seconds:
                    return
                if block:
                    self._log.append(block)
                    block = []
                self._wait(started + sent / rate)
                self._send(one.transaction.card_id, self._score_path, encode(one.transaction))
                self._feed.add(one)
                self._scored.add(one.transaction.event_id)
                sent += 1
        finally:
            if block:
                self._log.append(block)
            self._finish()

    def stop(self) -> None:
        """End the play after the request in hand."""
        self._stop.set()

    def _known_labels(self, now: Transaction) -> list[Message]:
        unscored = []
        for label in self._feed.due(now.event_timestamp):
            if label.event_id in self._scored:
                self._scored.discard(label.event_id)
                assert label.card_id is not None
                self._send(label.card_id, "/labels", encode(label))
            elif label.label == "fraud":
                unscored.append(_message(label))
        return unscored

    def _wait(self, until: float) -> None:
        left_s = until - self._clock()
        if left_s > 0:
            self._stop.wait(left_s)

    def _send(self, card_id: str, path: str, body: bytes) -> None:
        self._lanes[crc32(card_id.encode()) % LANES].put((path, body))

    def _finish(self) -> None:
        for lane in self._lanes:
            lane.put(None)
        for thread in self._threads:
            thread.join()

    def _drive(self, lane: queue.Queue[tuple[str, bytes] | None]) -> None:
        link = Link(self._url, self._api_key, self._failures)
        while (request := lane.get()) is not None:
            path, body = request
            reply = link.send("POST", path, body)
            if reply is not None:
                self._count(path, reply.content, reply.took_ms)
        link.close()

    def _count(self, path: str, content: bytes, took_ms: float) -> None:
        with self._lock:
            if path == "/labels":
                self.seen.labels_sent += 1
                return
            said = msgspec.json.decode(content, type=_Answer)
            self.seen.scored += 1
            self.seen.outcomes[said.outcome] += 1
            self.seen.degraded.update(said.degraded)
            self.seen.latency_ms.append(took_ms)


def _message(record: Transaction | Label) -> Message:
    return message_of(record)
