"""Windowed aggregates of the card by Quix Streams: run by path, in a virtual environment of its own (`bench.peers`).

It imports nothing of Headrace. For each of the card view's five windows it keeps count, sum, mean and max of the
amount and hands on the current values at every event, exactly once (a Kafka transaction for each checkpoint).

    python quix_peer.py BOOTSTRAP TOPIC EVENTS KIND DIRECTORY

prints one line of JSON: the events, the processor seconds and the seconds from the first event on (the former with the
last checkpoint, the latter without), the values handed on, and the newest of one card by window.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime, timedelta
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Mean, Sum

WINDOWS = {
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
IDLE_S = 60.0


def aggregate(bootstrap: str, topic_name: str, events: int, kind: str, directory: str) -> dict[str, Any]:
    """Process the topic's first `events` events and say what it took. `kind` is `sliding` or `tumbling`."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{kind}-{os.getpid()}",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=f"{directory}/state-{kind}-{os.getpid()}",
        loglevel="WARNING",
    )
    payments = app.topic(topic_name, value_deserializer="json", timestamp_extractor=_event_ms)
    frame = app.dataframe(payments)
    first: list[tuple[float, float]] = []
    last = [0.0]
    seen = [0, 0]
    newest: dict[str, dict[str, Any]] = {}

    def begin(_: Any) -> None:
        if not first:
            first.append((time.process_time(), time.perf_counter()))
        seen[0] += 1

    def taken(window: str) -> Any:
        def take(value: Any, key: Any, timestamp: int, headers: Any) -> None:
            seen[1] += 1
            last[0] = time.perf_counter()
            newest.setdefault(key.decode() if isinstance(key, bytes) else str(key), {})[window] = value

        return take

    frame = frame.update(begin)
    for name, length in WINDOWS.items():
        define = frame.sliding_window if kind == "sliding" else frame.tumbling_window
        values = (
            define(length, name=f"{kind}-{name}")
            .agg(count=Count(), sum=Sum(column="amount"), mean=Mean(column="amount"), max=Max(column="amount"))
            .current()
        )
        values.update(taken(name), metadata=True)
    app.run(count=events * len(WINDOWS), timeout=IDLE_S)
    cpu_s, wall_s = time.process_time() - first[0][0], last[0] - first[0][1]
    card = min(newest)
    return {
        "events": seen[0],
        "values": seen[1],
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "card": card,
        "newest": newest[card],
    }


def _event_ms(value: Any, headers: Any, timestamp: float, timestamp_type: Any) -> int:
    return int(datetime.fromisoformat(value["event_timestamp"]).timestamp() * 1000)


if __name__ == "__main__":
    print(json.dumps(aggregate(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])))
