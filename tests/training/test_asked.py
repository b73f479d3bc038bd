"""Whose turn it was follows from what the alias log said at that time, whatever it says later."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from models.registry import Registry
from scoring.canary_split import PLACES, place_of
from tests.training.conftest import START
from tests.training.served import GOOD
from tests.training.watching import registry_of
from training.asked import asked

CARDS = [f"card-{number}" for number in range(400)]
FIRST = next(card for card in CARDS if place_of("fraud", card) < PLACES // 100)
"""Of the one percent that every canary has."""
AMONG_25 = next(card for card in CARDS if PLACES // 20 <= place_of("fraud", card) < PLACES // 4)
LAST = next(card for card in CARDS if place_of("fraud", card) >= PLACES // 4)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = registry_of(tmp_path_factory.mktemp("registry"), {"one": GOOD, "two": GOOD, "three": GOOD}, "one", day(0))
    made.alias("fraud", "canary", "two", share=1, at=day(1))
    made.alias("fraud", "canary", "two", share=25, at=day(2))
    made.alias("fraud", "champion", "two", at=day(3))
    made.alias("fraud", "canary", "three", share=5, at=day(4))
    made.alias("fraud", "canary", None, at=day(5))
    made.rollback("fraud", at=day(6))
    made.alias("fraud", "champion", None, at=day(7))
    return made


@pytest.mark.parametrize(
    ("at", "first", "among_25", "last"),
    [
        (-1.0, "", "", ""),  # nobody was champion
        (0.5, "one", "one", "one"),
        (1.5, "two", "one", "one"),
        (2.5, "two", "two", "one"),
        (3.5, "two", "two", "two"),
        (4.5, "three", "two", "two"),
        (5.5, "two", "two", "two"),
        (6.5, "one", "one", "one"),
        (7.5, "", "", ""),
    ],
)
def test_it_is_the_champion_or_the_canary_of_that_time(
    registry: Registry, at: float, first: str, among_25: str, last: str
) -> None:
    changes = registry.history("fraud")
    assert [asked(changes, "fraud", card, day(at)) for card in (FIRST, AMONG_25, LAST)] == [first, among_25, last]


def test_a_change_counts_from_its_moment_on_and_those_of_other_models_never(registry: Registry) -> None:
    changes = registry.history("fraud")
    just_before = day(1) - timedelta(microseconds=1)
    assert [asked(changes, "fraud", FIRST, at) for at in (just_before, day(1))] == ["one", "two"]
    assert asked(changes, "other", FIRST, day(1)) == ""
