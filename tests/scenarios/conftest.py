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
from training.batch import SplitDays

collect_ignore = ["schemathesis_hooks.py"]
SOURCE = SimulatedSource(seed=11, days=40)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Path:
    """A home after `headrace features apply` and a first training."""
    home = tmp_path_factory.mktemp("trained")
    applying = apply_features(Settings({"home": home, "redis": redis_url}, {}))
    first, last = SOURCE.span()
    stretch = Stretch(first, first + timedelta(days=10), last, 1.0, SplitDays(gap=0))
    _, trained = fit_stretch(FRAUD, SOURCE.between(first, last), stretch, "hist_gradient_boosting", lambda _: None)
    register_champion(registry_of(home), trained, "for tests")
    _, errors = applying.communicate()
    assert applying.returncode == 0, errors.decode()
    return home


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    copy = tmp_path / "home"
    shutil.copytree(trained_home, copy)
    return copy


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    """A stack with its own Redis, and nothing else started yet."""
    with Stack(Settings({"home": home}, {})) as running:
        running.start_redis()
        yield running


@pytest.fixture(scope="session")
def service_url(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real service over an own Redis, for tests that may share one and leave it running."""
    copy = tmp_path_factory.mktemp("service") / "home"
    shutil.copytree(trained_home, copy)
    with Stack(Settings({"home": copy, "deadline": "1s"}, {})) as running:
        running.start_redis()
        yield running.start_service()


@pytest.fixture(scope="session")
def payments() -> list[Played]:
    """Eight hundred payments of the days after the training, over few cards and merchants."""
    _, last = SOURCE.span()
    return list(islice(SOURCE.between(last, last + timedelta(days=9)), 800))
