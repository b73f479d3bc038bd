"""What drifts is caught and named; ordinary weeks raise nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from features.fraud import FRAUD
from models.change_point import last_change
from models.manifest import Manifest
from models.profile import sketch
from stream.played import Played
from tests.training.contest import MANIFEST
from tests.training.worlds import World, world
from training.distance import ks, ks_by_chance, psi, psi_by_chance
from training.drift import FRAUD_RATE, KS, LOSS, NULLS, PSI
from training.drift_bounds import BOUNDS
from training.drift_report import Measured
from training.effective import entities_of

SEED = 1


@pytest.fixture(scope="module")
def ordinary() -> World:
    return world(SEED)


def alarms(found: list[Measured]) -> set[tuple[str, str]]:
    return {(one.measure, one.subject) for one in found if one.alarm}


@pytest.mark.parametrize("seed", [SEED, *(pytest.param(more, marks=pytest.mark.thorough) for more in (2, 3))])
def test_a_quiet_week_raises_nothing(seed: int) -> None:
    here = world(seed)
    found = here.look(here.ordinary_week)
    assert [one for one in found if one.alarm] == []
    judged = {(one.measure, one.subject) for one in found if one.value is not None}
    assert {(PSI, "amount"), (KS, "score of batch"), (NULLS, "distance_km"), (LOSS, "labels")} <= judged
    assert len(judged) > 100


def test_amounts_that_shift_are_caught_by_name(ordinary: World) -> None:
    def dearer(one: Played) -> Played:
        amount = round(one.transaction.amount * 3.0, 2)
        return msgspec.structs.replace(one, transaction=msgspec.structs.replace(one.transaction, amount=amount))

    found = alarms(ordinary.look(ordinary.at_week(dearer)))
    assert (KS, "amount") in found
    innocent = {name for name in FRAUD.names if "count" in name or "since" in name or name in {"hour", "weekday"}}
    assert {subject for _, subject in found} & innocent == set()


def test_a_feature_that_goes_null_is_caught_by_name(ordinary: World) -> None:
    def without_place(one: Played) -> Played:
        placeless = msgspec.structs.replace(one.transaction, latitude=None, longitude=None)
        return msgspec.structs.replace(one, transaction=placeless)

    found = alarms(ordinary.look(ordinary.at_week(without_place)))
    assert {(NULLS, "distance_km"), (NULLS, "speed_kmh")} <= found
    assert {subject for measure, subject in found if measure == NULLS} <= {
        *("distance_km", "speed_kmh", "card_previous_latitude", "card_previous_longitude")
    }


def test_three_times_the_frauds_are_caught(ordinary: World) -> None:
    frame = ordinary.ordinary_week
    y, rng = frame.y.copy(), np.random.default_rng(0)
    wanted = 3.0 * ordinary.profile.fraud_rate
    for card in rng.permutation(np.unique(frame.card)):
        if y.mean() >= wanted:
            break
        y[np.flatnonzero(frame.card == card)[:3]] = 1
    (rate,) = (one for one in ordinary.look(frame, y=y) if one.measure == FRAUD_RATE)
    assert rate.alarm
    assert rate.value == pytest.approx(3.0, abs=0.1)


def test_a_score_that_is_inflated_is_caught_and_no_feature_is_blamed(ordinary: World) -> None:
    frame = ordinary.ordinary_week
    odds = 6.0 * (p := ordinary.score(frame)) / (1.0 - p)
    found = alarms(ordinary.look(frame, score=odds / (1.0 + odds)))
    assert (PSI, "score of batch") in found or (KS, "score of batch") in found
    assert not {subject for _, subject in found} & set(FRAUD.names)


def test_a_score_that_no_longer_fits_is_caught_by_its_loss(ordinary: World) -> None:
    frame = ordinary.ordinary_week
    sure = np.where(np.arange(len(frame.y)) % 5 == 0, 0.9, 0.02)
    assert (LOSS, "labels") in alarms(ordinary.look(frame, score=sure))


def test_what_is_of_few_merchants_is_not_judged_and_says_so(ordinary: World) -> None:
    found = ordinary.look(ordinary.ordinary_week)
    unjudged = {one.subject: one.says for one in found if one.value is None}
    assert "merchant_mean_amount_30d" in unjudged
    assert "too little to judge" in unjudged["merchant_mean_amount_30d"]
    assert "merchant_id" in unjudged["merchant_mean_amount_30d"]


def test_chance_is_shared_by_all_that_is_looked_at() -> None:
    """A hundred looks at nothing, sixty features each: the naive test cries nearly always, ours hardly ever."""
    rng = np.random.default_rng(5)
    units, ours, naive = 400, 0, 0
    for _ in range(100):
        was = rng.multinomial(units, [0.05] * 20, size=60) / units
        now = rng.multinomial(units, [0.05] * 20, size=60) / units
        distances = [ks(one, other) for one, other in zip(was, now, strict=True)]
        indices = [psi(one, other, units, units) for one, other in zip(was, now, strict=True)]
        naive += max(distances) > ks_by_chance(units, units, 0.05)
        # Without the bounds of size, so that chance alone is what is tested.
        share = BOUNDS.chance / 120
        ours += max(distances) > ks_by_chance(units, units, share)
        ours += max(indices) > psi_by_chance(20, units, units, share)
    assert naive > 50
    assert ours <= 6


def test_a_manifest_keeps_its_profile_and_an_older_one_has_none(ordinary: World) -> None:
    kept = msgspec.structs.replace(MANIFEST, profile=ordinary.profile)
    assert Manifest.from_json(kept.to_json()) == kept
    older = msgspec.to_builtins(MANIFEST)
    del older["profile"]
    assert Manifest.from_json(msgspec.json.encode(older)).profile is None


def test_every_feature_has_its_entities() -> None:
    found = entities_of(FRAUD)
    assert set(found) == set(FRAUD.names)
    assert found["merchant_count_1h"] == ("merchant_id",)
    assert found["amount"] == ("card_id",)
    assert found["merchant_risk_7d"] == ("card_id", "merchant_id")


def test_adwin_says_where_a_mean_changed() -> None:
    rng = np.random.default_rng(0)
    steady = rng.random(3000) < 0.1
    worse = rng.random(1000) < 0.4
    change = last_change([*steady.astype(float).tolist(), *worse.astype(float).tolist()], 0.002)
    assert change is not None
    assert 2800 < change.position < 3200
    assert change.after > 3 * change.before
    assert last_change(steady.astype(float).tolist(), 0.002) is None


def test_a_sketch_finds_its_own_values_again() -> None:
    values = np.array([0.0] * 60 + [1.0, 2.0, 3.0, 4.0] * 10 + [np.nan] * 25)
    made = sketch(values)
    assert (made.known, made.null_share) == (100, 0.2)
    assert ks(np.array(made.shares), made.shares_of(values)) < 1e-6
    assert sketch(np.array([np.nan, np.nan])).null_share == 1.0
