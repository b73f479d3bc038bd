from __future__ import annotations

from bench.pages_cost import ARMS, NONE, Arm, Block, summed_up
from bench.pages_visitors import Seen
from bench.run import BENCHES


def block(arm: Arm, cpu_us: float, slower: float = 1.0) -> Block:
    latency_ms = [slower * (1.0 + number / 100) for number in range(100)]
    return Block(arm, cpu_us, 1.5 * slower, 2.0 * slower, latency_ms, 0, Seen(pages=3, events=4))


def test_each_arrangement_is_held_against_the_blocks_beside_it_on_a_machine_that_slows_down() -> None:
    within = ARMS[0]
    blocks = [block(NONE, 1000.0)]
    for number in range(5):
        slower = 1.0 + number / 4
        for arm in ARMS:
            costs = 1.5 if arm == within else 1.0
            blocks += [block(arm, 1000.0 * slower * costs, slower), block(NONE, 1000.0 * slower, slower)]
        blocks[-1] = block(NONE, 1000.0 * (slower + 0.25), slower + 0.25)
    found = summed_up(blocks, cases=10, rate=200.0)
    ratio = found[f"{within.name}, over none: cpu"]
    assert round(ratio.value, 2) == 1.5 and ratio.budget is None
    alone = [found[f"{arm.name}, over none: cpu"] for arm in ARMS if arm.apart]
    assert [(round(one.value, 2), one.meets_budget) for one in alone] == [(1.0, True), (1.0, True)]
    assert "heard 20 ticks" in found[f"{within.name}: p99"].note


def test_it_is_one_of_the_benches() -> None:
    assert "pages" in BENCHES
