from __future__ import annotations

import numpy as np
import pytest

from bench.weights_choice import CANDIDATES, Judged, choose, gain_over, weights_of
from models.ensemble import BATCH, FEEDBACK, FRAUD_WEIGHTS
from training.prequential import ONLINE

ROWS, CARDS = 3_000, 300


def judged(batch: float, feedback: float, online: float, seed: int = 0) -> Judged:
    """Members whose scores follow the truth so strongly, the rest of each is noise of its own."""
    rng = np.random.default_rng(seed)
    y = (rng.random(ROWS) < 0.05).astype(np.int8)
    members = {
        name: 1.0 / (1.0 + np.exp(3.0 - strength * y - rng.normal(size=ROWS)))
        for name, strength in ((BATCH, batch), (FEEDBACK, feedback), (ONLINE, online))
    }
    return Judged(members, rng.integers(CARDS, size=ROWS).astype(str), y)


def test_the_online_member_gets_weight_where_it_alone_knows() -> None:
    choice = choose([judged(0.0, 0.0, 4.0)])
    assert choice.chosen.members[ONLINE].weight == max(one.members[ONLINE].weight for one in CANDIDATES)
    assert choice.gain.low > 0.0


def test_the_incumbent_stays_where_nothing_is_clearly_better() -> None:
    everybody_guesses = judged(0.0, 0.0, 0.0)
    choice = choose([everybody_guesses])
    assert choice.gain.value >= 0.0 > choice.gain.low
    assert choice.chosen is FRAUD_WEIGHTS


def test_worlds_choose_together_by_the_mean_of_their_gains() -> None:
    one, other = judged(0.0, 0.0, 4.0), judged(4.0, 0.0, 0.0, seed=1)
    weights = weights_of(0.05, 0.4)
    gains = [gain_over([each], weights, FRAUD_WEIGHTS).value for each in (one, other)]
    assert gains[0] > 0.0 > gains[1]
    assert gain_over([one, other], weights, FRAUD_WEIGHTS).value == pytest.approx(np.mean(gains))


def test_candidates_are_whole_and_do_not_cap_the_online_member_below_its_weight() -> None:
    assert len({weights.version for weights in CANDIDATES}) == len(CANDIDATES)
    for weights in CANDIDATES:
        assert sum(member.weight for member in weights.members.values()) == pytest.approx(1.0)
        shares = weights.shares((BATCH, FEEDBACK, ONLINE))
        assert shares[2] == pytest.approx(weights.members[ONLINE].weight)
