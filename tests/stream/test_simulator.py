from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median
from typing import Any

import msgspec
import pytest

from stream.played import Played
from stream.simulator import Simulator
from stream.simulator_changes import AmountShift, Changes, Span
from stream.simulator_patterns import LONGEST_EPISODE_DAYS, PATTERNS

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday


def _simulator(seed: int = 1, days: int = 28, **options: Any) -> Simulator:
    return Simulator(seed, **{"start": START, "end": START + timedelta(days=days), "customers": 400, **options})


def _play(seed: int = 1, days: int = 28, **options: Any) -> list[Played]:
    return list(_simulator(seed, days, **options).play())


def _frauds(played: Sequence[Played], key: str) -> dict[str, list[Played]]:
    """The frauds, together by one of their ids."""
    groups = defaultdict(list)
    for each in played:
        if each.fraud:
            groups[getattr(each.transaction, key)].append(each)
    return groups


@pytest.fixture(scope="module")
def month() -> list[Played]:
    return _play(customers=1_000)


def test_one_seed_gives_one_world_and_another_seed_another() -> None:
    simulator = _simulator(days=3)
    assert list(simulator.play()) == list(simulator.play()) == _play(days=3)
    assert _play(days=3) != _play(seed=2, days=3)


def test_a_longer_play_begins_like_a_shorter_one() -> None:
    short = _play(days=2)
    assert _play(days=5)[: len(short)] == short


def test_without_an_end_it_goes_on() -> None:
    endless = Simulator(1, start=START, customers=50).play()
    assert len(list(islice(endless, 2_000))) == 2_000


def test_transactions_come_in_time_order_from_start_to_before_end() -> None:
    start, end = START + timedelta(hours=7), START + timedelta(days=2, hours=13)
    times = [each.transaction.event_timestamp for each in _play(start=start, end=end)]
    assert times == sorted(times)
    assert start <= times[0] < start + timedelta(hours=1)
    assert end - timedelta(hours=1) < times[-1] < end


def test_no_two_transactions_share_an_id(month: list[Played]) -> None:
    assert len({each.transaction.event_id for each in month}) == len(month)


def test_a_customer_makes_about_two_payments_a_day(month: list[Played]) -> None:
    assert 1.7 < len(month) / 28 / 1_000 < 2.4


def test_about_one_payment_in_a_hundred_and_twenty_is_fraud(month: list[Played]) -> None:
    assert 0.005 < sum(bool(each.fraud) for each in month) / len(month) < 0.011


def test_a_fraud_share_of_zero_has_no_frauds() -> None:
    assert not any(each.fraud for each in _play(days=7, fraud_share=0.0))


def test_people_sleep_at_night_and_shop_on_saturday(month: list[Played]) -> None:
    hours = Counter(each.transaction.event_timestamp.hour for each in month)
    weekdays = Counter(each.transaction.event_timestamp.weekday() for each in month)
    assert hours[17] > 5 * hours[3]
    assert weekdays[5] > 1.15 * weekdays[0]


def test_frauds_are_known_within_ten_days_and_legit_payments_after_the_window(month: list[Played]) -> None:
    delays = [each.label_delay for each in month if each.fraud]
    assert min(delays) >= timedelta(days=1)
    assert max(delays) <= timedelta(days=10)
    assert 3 < median(delay / timedelta(days=1) for delay in delays) < 6
    assert {each.label_delay for each in month if not each.fraud} == {timedelta(days=10)}


def test_some_payments_have_no_device_and_some_no_place(month: list[Played]) -> None:
    assert any(each.transaction.device_id is None for each in month)
    assert 0.03 < sum(each.transaction.latitude is None for each in month) / len(month) < 0.07


def test_amounts_are_money(month: list[Played]) -> None:
    assert all(each.transaction.amount == round(each.transaction.amount, 2) >= 0.01 for each in month)


def test_card_testing_is_many_small_amounts_at_one_merchant_within_minutes() -> None:
    frauds = _frauds(_play(patterns=("card_testing",)), "device_id")
    bursts = [found for device, found in frauds.items() if device is not None]
    assert len(bursts) >= 3
    for burst in bursts:
        times = [each.transaction.event_timestamp for each in burst]
        assert len({each.transaction.merchant_id for each in burst}) == 1
        assert len({each.transaction.card_id for each in burst}) >= 2
        assert len(burst) >= 4
        assert max(times) - min(times) < timedelta(hours=2)
        assert median(each.transaction.amount for each in burst) < 10.0


def test_a_stolen_card_pays_several_times_the_usual_and_is_then_blocked() -> None:
    played = _play(patterns=("stolen_card",))
    usual = defaultdict(list)
    for each in played:
        if not each.fraud:
            usual[each.transaction.customer_id].append(each.transaction.amount)
    last_use = {each.transaction.card_id: each.transaction.event_timestamp for each in played}
    ratios = []
    for card, stolen in _frauds(played, "card_id").items():
        ratios += [each.transaction.amount / median(usual[each.transaction.customer_id]) for each in stolen]
        last_fraud = stolen[-1].transaction.event_timestamp
        if last_fraud < START + timedelta(days=24):  # later frauds of the others lie beyond the end
            assert last_use[card] < last_fraud + timedelta(days=1)
    assert len(ratios) > 50
    assert median(ratios) > 2.0


def test_a_compromised_merchant_has_frauds_for_weeks_among_its_own_customers() -> None:
    played = _play(days=56, patterns=("compromised_merchant",), merchants=50)
    at_merchant = Counter(each.transaction.merchant_id for each in played)
    found = _frauds(played, "merchant_id")
    worst = max(found.values(), key=len)
    times = [each.transaction.event_timestamp for each in worst]
    assert timedelta(days=5) < max(times) - min(times)
    assert len(found) < 25
    assert 0.02 < len(worst) / at_merchant[worst[0].transaction.merchant_id] < 0.7
    assert len({each.transaction.customer_id for each in worst}) > 3


def test_an_account_takeover_has_a_new_device_and_rising_amounts_by_night() -> None:
    played = _play(patterns=("account_takeover",))
    taken = [found for device, found in _frauds(played, "device_id").items() if device is not None]
    whole = [found for found in taken if len(found) >= 5]
    rising = [found[-1].transaction.amount > found[0].transaction.amount for found in whole]
    hours = [each.transaction.event_timestamp.hour for found in taken for each in found]
    legit_devices = {each.transaction.device_id for each in played if not each.fraud}
    assert len(whole) >= 5
    assert sum(rising) / len(rising) > 0.7
    assert sum(hour < 8 or hour >= 22 for hour in hours) / len(hours) > 0.7
    assert not legit_devices & {found[0].transaction.device_id for found in taken}
    assert all(len({each.transaction.customer_id for each in found}) == 1 for found in taken)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_alone_reaches_the_share_aimed_at(pattern: str) -> None:
    played = _play(days=56, patterns=(pattern,))
    assert 0.003 < sum(bool(each.fraud) for each in played) / len(played) < 0.016


def test_a_drift_changes_the_frauds_from_its_day_on_and_nothing_before() -> None:
    day = timedelta(days=1)
    steady = _play(days=28, patterns=("card_testing",))
    drifted = _play(days=28, patterns=("card_testing",), drift_at=START + 14 * day)
    before = [each for each in steady if each.transaction.event_timestamp < START + 14 * day]
    assert drifted[: len(before)] == before

    def amounts(played: list[Played]) -> list[float]:
        late = (each for each in played if each.transaction.event_timestamp >= START + 15 * day)
        return [each.transaction.amount for each in late if each.fraud]

    assert median(amounts(drifted)) > 2 * median(amounts(steady))


def _changed(changes: Changes, **options: Any) -> list[Played]:
    return _play(days=28, customers=600, patterns=("card_testing", "account_takeover"), changes=changes, **options)


def _takeovers(played: Sequence[Played]) -> list[datetime]:
    """When frauds happen that are no card testing: that takes place within minutes, over several cards of a device."""
    frauds = [one.transaction for one in played if one.fraud and one.transaction.device_id is not None]
    cards = defaultdict(set)
    for one in frauds:
        cards[one.device_id].add(one.card_id)
    return [one.event_timestamp for one in frauds if len(cards[one.device_id]) == 1]


def test_a_pattern_begins_and_another_ends_when_they_are_told_to() -> None:
    middle = START + timedelta(days=14)
    begins = _changed(Changes(active={"account_takeover": Span(begins=middle)}))
    assert len(_takeovers(begins)) > 20
    assert min(_takeovers(begins)) >= middle
    ends = _changed(Changes(active={"account_takeover": Span(ends=middle)}))
    assert len([at for at in _takeovers(ends) if at < middle]) > 20
    assert max(_takeovers(ends)) < middle + timedelta(days=LONGEST_EPISODE_DAYS)
    last_week = START + timedelta(days=21)
    assert not [at for at in _takeovers(ends) if at >= last_week]
    assert any(each.fraud for each in ends if each.transaction.event_timestamp >= last_week)


def test_nothing_changes_unless_it_is_declared() -> None:
    everything = {name: Span() for name in PATTERNS}
    assert _play(days=7) == _play(days=7, changes=Changes()) == _play(days=7, changes=Changes(active=everything))


def test_amounts_shift_from_their_day_on_and_nothing_else_does() -> None:
    middle = START + timedelta(days=7)
    plain = _play(days=14)
    shifted = _play(days=14, changes=Changes(amounts=(AmountShift(middle, 2.0),)))
    for one, other in zip(plain, shifted, strict=True):
        if one.transaction.event_timestamp < middle:
            assert one == other
        else:
            assert other.transaction.amount == pytest.approx(2 * one.transaction.amount, abs=0.011)
            assert msgspec.structs.replace(other.transaction, amount=one.transaction.amount) == one.transaction


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": datetime(2026, 1, 1)}, "has no zone"),
        ({"patterns": ("phishing",)}, "no fraud pattern 'phishing'; there are card_testing"),
        ({"customers": 3}, "customers 3"),
        ({"fraud_share": 0.9}, "fraud_share 0.9"),
        ({"changes": Changes({"phishing": Span()})}, "no fraud pattern 'phishing' is committed"),
        ({"changes": Changes({"stolen_card": Span(ends=datetime(2026, 1, 1))})}, "stolen_card ends.* has no zone"),
        ({"changes": Changes({"stolen_card": Span(START, START)})}, "stolen_card begins .* ends no later"),
        ({"changes": Changes(amounts=(AmountShift(START, 0.0),))}, "by the factor 0"),
    ],
)
def test_a_world_that_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        _simulator(**options)
