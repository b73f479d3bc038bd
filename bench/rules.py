"""What rules cost: fifty live ones asked of one record, and a change of them while others are scored."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.figures import Figure, Figures, medians
from features.expression import ListRef
from features.fraud import FRAUD
from scoring.rules import Circumstances, Rule, RuleSet
from stream.records import Transaction

RUNS = 5
ROUNDS = 20_000
LIVE, SHADOW = 50, 10
LISTED = 10_000
BUDGET_US = 20.0


def measure(rounds: int = ROUNDS) -> Figures:
    """All figures, in this process. Takes a few seconds."""
    return medians([_run(rounds) for _ in range(RUNS)])


def rules_like_people_write(count: int, seed: int = 7, prefix: str = "rule") -> list[Rule]:
    """Rules of two or three conditions each over the record, the features and the lists; few fire."""
    picked = random.Random(seed)
    numbers = [name for name in FRAUD.names if name != "amount"]
    found = []
    for number in range(count):
        one, other, third = picked.sample(numbers, 3)
        when = picked.choice(
            (
                f"amount > {picked.randrange(200, 5000)} and {one} >= {picked.randrange(3, 30)}",
                f"{one} > 3 * {other} and {third} > {picked.randrange(10, 90)} and amount > 50",
                f"currency not in ('EUR', 'USD') and {one} > {picked.randrange(2, 9)}",
                f"hour(event_timestamp) < 5 and {one} > {other} + {picked.randrange(100, 900)}",
                f"merchant_id in deny and {one} > 1 or abs({other} - {third}) > 1e6",
                f"not (amount < 900 or is_null(latitude)) and {one} / {other} > {picked.randrange(5, 50)}",
            )
        )
        found.append(Rule(name=f"{prefix} {number}", when=when, action=picked.choice(("review", "decline"))))
    return found


def _run(rounds: int) -> Figures:
    record = Transaction(
        event_id="e",
        event_timestamp=datetime(2026, 1, 31, 12, tzinfo=UTC),
        card_id="card-7",
        merchant_id="merchant-3",
        device_id="device-9",
        amount=129.9,
    )
    picked = random.Random(1)
    vector = [picked.uniform(0.0, 2.0) if picked.random() < 0.9 else float("nan") for _ in FRAUD.names]
    live = rules_like_people_write(LIVE)
    entries = {ListRef("deny", "merchant_id"): {f"m{n}": float("inf") for n in range(LISTED)}}
    circumstances = Circumstances(entries)
    rules = RuleSet(live, FRAUD, circumstances=circumstances)
    with_shadow = RuleSet(live, FRAUD, shadow=rules_like_people_write(SHADOW, 8, "shadow"), circumstances=circumstances)
    firing = RuleSet(
        [*live, *(Rule(name=f"fires {n}", when="amount > 1", action="review") for n in range(5))],
        FRAUD,
        circumstances=Circumstances(entries, snoozes={"fires 0": {("card_id", "card-7"): float("inf")}}),
    )
    if rules.fired(record, vector).rules or len(firing.fired(record, vector).rules) != 4:
        raise RuntimeError("other rules fire than the figures say")
    started = time.perf_counter()
    RuleSet(rules_like_people_write(LIVE, picked.randrange(1 << 30)), FRAUD, circumstances=circumstances)
    compiled_ms = (time.perf_counter() - started) * 1e3
    return {
        f"{LIVE} rules, none fires": _per_call(lambda: rules.fired(record, vector), rounds, BUDGET_US),
        f"{LIVE} rules and {SHADOW} in shadow": _per_call(lambda: with_shadow.fired(record, vector), rounds),
        f"{LIVE + 5} rules, 5 fire, 1 snoozed": _per_call(lambda: firing.fired(record, vector), rounds),
        f"a new set of {LIVE} rules": Figure(compiled_ms, "ms", None, "lower", "in the feed's thread"),
    }


def _per_call(call: Callable[[], Any], rounds: int, budget: float | None = None) -> Figure:
    took = []
    for _ in range(20):
        started = time.thread_time()
        for _ in range(rounds // 20):
            call()
        took.append((time.thread_time() - started) / (rounds // 20) * 1e6)
    return Figure(statistics.median(took), "us", budget, "lower", "processor time of one call")
