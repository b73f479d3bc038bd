"""A home with a plan and a first model, made once a session; each test gets a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from headrace.bootstrap import Stretch, fit_stretch, register_champion
from headrace.run import apply_features
from headrace.settings import Settings
from headrace.source import SimulatedSource
from headrace.stack import Stack
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.played import Played
from tests.once import made_once
from tests.patient import DEADLINE
from training.batch import SplitDays

collect_ignore = ["schemathesis_hooks.py"]
SOURCE = SimulatedSource(seed=11, days=40, customers=160)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Path:
    """A home after `headrace features apply` and a first training; the same for all processes of the tests."""

    def make(home: Path) -> None:
        applying = apply_features(Settings({"home": home, "redis": redis_url}, {}))
        first, last = SOURCE.span()
        stretch = Stretch(first, first + timedelta(days=10), last, 1.0, SplitDays(gap=0))
        _, trained = fit_stretch(FRAUD, SOURCE.between(first, last), stretch, "hist_gradient_boosting", lambda _: None)
        register_champion(registry_of(home), trained, "for tests")
        _, errors = applying.communicate()
        assert applying.returncode == 0, errors.decode()

    return made_once(tmp_path_factory, "trained", make)


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    copy = tmp_path / "home"
    shutil.copytree(trained_home, copy)
    return copy


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    """A stack with its own Redis, and nothing else started yet."""
    with Stack(Settings({"home": home, "deadline": DEADLINE}, {})) as running:
        running.start_redis()
        yield running


@pytest.fixture(scope="module")
def shared_stack(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack with its own Redis for all tests of a file, which go by their order and leave to each what it needs."""
    home = shutil.copytree(trained_home, tmp_path_factory.mktemp("shared") / "home")
    with Stack(Settings({"home": home, "deadline": DEADLINE}, {})) as running:
        running.start_redis()
        yield running


@pytest.fixture(scope="session")
def payments() -> list[Played]:
    """Eight hundred payments of the days after the training, over few cards and merchants."""
    _, last = SOURCE.span()
    return list(islice(SOURCE.between(last, last + timedelta(days=9)), 800))
