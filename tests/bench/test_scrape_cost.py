from __future__ import annotations

from bench.run import BENCHES
from bench.scrape_cost import PATHS, Block, summed_up

ALL, SOME = PATHS.values()


def test_a_look_is_what_a_block_took_above_those_beside_it_on_a_machine_that_slows_down() -> None:
    blocks = [Block("", 0, 1000, 0.5)]
    for look_s, path in ((0.03, ALL), (0.001, SOME)) * 6:
        # Each block is slower than the one before it.
        score_s = 0.0005 * (1 + len(blocks) / 40)
        after_s = 0.0005 * (1 + (len(blocks) + 1) / 40)
        blocks += [Block(path, 50, 1000, 1000 * score_s + 50 * look_s), Block("", 0, 1000, 1000 * after_s)]
    found = summed_up(blocks, rate=200.0)
    looks = {name: round(found[f"{name}: a look"].value, 1) for name in PATHS}
    assert looks == {"all of /metrics": 30.0, "what the dashboard wants": 1.0}
    # A look each two seconds of 1 ms, beside 200 scores a second of about a millisecond.
    assert found["a dashboard is open"].value < 0.01 and found["a dashboard is open"].meets_budget


def test_it_is_one_of_the_benches() -> None:
    assert "scrape" in BENCHES
