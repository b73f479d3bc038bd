"""Whether two versions of the code make the same slates: those of a fixed world, written down and as one checksum.

`python -m bench.recommend_same --to slates.jsonl` asks for 600 slates at fixed times and under fixed ids, of a state,
histories and a ranker that are the same each time, and writes what was logged and what was answered, without how long
it took. Ask the version before a change and the one after it, on one machine: the files are equal, or the change is one
of answers too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec

from bench.recommend_stack import furnish, recommending_stack
from bench.recommend_world import VISITORS, World, learned
from headrace.assembly import open_ledger
from headrace.assembly_recommending import open_recommending
from headrace.run import apply_features
from headrace.settings import Settings
from models.ranker import BLEND_VERSION
from scoring.recommend_api import RecommendApi
from scoring.recommending import Recommending
from scoring.slate_file import read_slate_policy
from stream.records import from_micros

SLATES = 600
ITEMS = 2000
INTERACTIONS = 60_000
END_US = 1_760_000_000_000_000
"""When the world ends, and slates are asked for from then on, a second apart."""
DEADLINE_MS = 10_000.0
RULES = """
name = "same"
[default]
category_cap = 5
mmr_lambda = 0.9
[default.exploration]
places = [5]
[scenarios.two]
category_cap = 1
[scenarios.two.exploration]
places = [2, 3]
[scenarios.plain]
mmr_lambda = 1.0
category_cap = 0
[scenarios.plain.exploration]
places = []
[[rules]]
name = "nothing dear"
when = "scenario == 'ruled' and price > 60"
action = "hide"
[[rules]]
name = "new ones"
when = "scenario == 'ruled' and age_days < 25"
action = "boost"
boost = 1.3
"""


def bodies(count: int, seed: int = 11) -> Iterator[dict[str, Any]]:
    """What is asked: visitors known and strangers, signed in or not, with all that a request may have."""
    random = Random(seed)
    for number in range(count):
        body: dict[str, Any] = {"user_id": f"user-{random.randrange(VISITORS + 100)}"}
        if number % 3 == 0:
            body["session_id"] = f"session-{number % 7}"
        if number % 11 == 0:
            body = {"session_id": f"session-{number}"}
        if number % 4 == 0:
            body["k"] = random.choice((1, 3, 10, 20, 50, 100))
        if number % 5 == 0:
            body["exclude"] = [f"item-{random.randrange(ITEMS + 10)}" for _ in range(random.randrange(20))]
        context = {}
        if number % 6 == 0:
            context["item_id"] = f"item-{random.randrange(ITEMS)}"
        if number % 8 == 0:
            context["category"] = f"category {random.randrange(42)}"
        body["context"] = context
        body["scenario"] = random.choice(("default", "default", "two", "plain", "ruled"))
        yield body


def slates(settings: Settings, count: int) -> Iterator[bytes]:
    """What is logged and answered, a line for each slate."""
    recommending, catalogue, feeds = open_recommending(settings, open_ledger(settings))
    feeds.recommender.start()
    feeds.ranker.refresh()
    feeds.items._clock_us = lambda: END_US
    for _ in range(-(-ITEMS // 100)):
        feeds.items.refresh()
    recommending.policy = recommending.maker.policy = read_slate_policy(RULES)
    api = RecommendApi(recommending, catalogue, 1000, DEADLINE_MS)
    gone = [f"item-{number}" for number in range(0, ITEMS, 97)]
    try:
        for number, body in enumerate(bodies(count)):
            if number == count // 2:
                recommending.gone.ids.update(gone)
                recommending.gone.latest.extend(gone)
            yield _line(api, recommending, number, body)
    finally:
        feeds.stop()
        recommending.connection.close()


def _line(api: RecommendApi, recommending: Recommending, number: int, body: dict[str, Any]) -> bytes:
    asked_at = from_micros(END_US) + timedelta(seconds=number)

    def clock() -> datetime:
        return asked_at

    recommending.clock = clock
    with patch("secrets.token_hex", lambda _: f"{number:024x}"):
        answer = api.recommend(msgspec.json.encode(body), DEADLINE_MS)
    answered = msgspec.json.decode(answer.body)
    if answer.status != 200 or answered["versions"]["ranker"] == BLEND_VERSION:
        raise RuntimeError(f"{body} was answered {answer.status}: {answer.body[:300]!r}")
    if set(answered["degraded"]) - {"items"}:
        raise RuntimeError(f"a slate in a bench, without {answered['degraded']}")
    stream = recommending.log.unread_command(answered["user_id"])[1]
    (entry,) = recommending.connection.call([("XREVRANGE", stream, "+", "-", "COUNT", 1)])[0]
    logged = msgspec.json.decode(entry[1][3])
    kept = recommending.connection.call([("GET", f"slate:{number:024x}")])[0]
    for told in (answered, logged):
        told["latency_us"] = sorted(told["latency_us"])
        told["versions"]["ranker"] = ""  # the time at which it was registered
    return msgspec.json.encode([entry[1][1].decode(), logged, msgspec.json.decode(kept), answered])


def write(path: Path, count: int = SLATES) -> str:
    """Write the lines of a stack of its own; gives their checksum."""
    with recommending_stack() as stack:
        applying = apply_features(stack.settings)
        world = World(ITEMS)
        world.end_us = END_US
        state, _ = learned(world, INTERACTIONS)
        furnish(stack, world, state, applying)
        content = b"".join(line + b"\n" for line in slates(stack.settings, count))
    path.write_bytes(content)
    return sha256(content).hexdigest()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slates", type=int, default=SLATES)
    parser.add_argument("--to", type=Path, required=True, help="the file that is written, a line for each slate")
    given = parser.parse_args()
    print(write(given.to, given.slates), given.to)


if __name__ == "__main__":
    main()
