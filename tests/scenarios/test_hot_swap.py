"""Models are swapped under load: no request fails, and every decision is of one model that was to answer then."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from math import inf
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from headrace.cli import main
from headrace.settings import Settings
from headrace.stack import Stack
from models.aliases import Canary
from models.manifest import Calibration
from models.onnx import OnnxModel
from models.registry import Registry
from scoring.canary_split import is_in, place_of
from stream.records import Decision, decode, encode
from tests.patient import DEADLINE, ask, connected
from tests.scoring.conftest import payment
from tests.until import until

pytestmark = pytest.mark.slow

CLIENTS = 4
LIMIT_S = 240.0
"""Scorers follow within a second, on a machine that is not busy."""
STRETCH_S = 0.5
CARDS = tuple(f"card-{number}" for number in range(997))
STEPS = (
    ("canary", "fraud", "second", "--share", "25"),
    ("promote", "fraud", "third", "--force", "--why", "a swap under load"),
    ("canary", "fraud", "second", "--share", "5"),
    ("rollback", "fraud"),
    ("canary", "fraud", "--share", "0"),
    ("promote", "fraud", "second", "--force", "--why", "another"),
    ("canary", "fraud", "third", "--share", "25"),
    ("drop", "fraud"),
    ("rollback", "fraud"),
)


class Answer(NamedTuple):
    """A decision, between which moments it was made, and over which connection: one process's."""

    link: int
    asked_s: float
    answered_s: float
    card: str
    decision: Decision


class Stretch(NamedTuple):
    """A while in which no alias moved and every scorer had followed."""

    since_s: float
    until_s: float
    champion: str
    canary: Canary | None

    @property
    def versions(self) -> set[str]:
        """All that decide."""
        return {self.champion} if self.canary is None else {self.champion, self.canary.version}

    def version_for(self, card: str) -> str:
        """Which version decides for a card."""
        is_canary = self.canary is not None and is_in(place_of("fraud", card), self.canary.share)
        return self.canary.version if self.canary and is_canary else self.champion


def have_followed(answers: Sequence[Answer], before: Stretch, now: Stretch) -> bool:
    """Whether every connection has had an answer that only the new aliases explain, asked for since they are."""
    telling = {card for card in CARDS if before.version_for(card) != now.version_for(card)}
    following: dict[int, bool] = {}
    for answer in list(answers):
        if answer.card in telling and answer.asked_s >= now.since_s:
            following[answer.link] = answer.decision.scores["batch"].version == now.version_for(answer.card)
    return not telling or (len(following) == CLIENTS and all(following.values()))


def versions_that_score(url: str) -> set[str]:
    """Of all processes, also of one to which no connection leads now; as each has told within the last second."""
    families = text_string_to_metric_families(ask(url, "GET", "/metrics").content.decode())
    models = [one.labels for family in families for one in family.samples if one.name == "headrace_model"]
    return {labels["version"] for labels in models if labels["member"] == "batch"}


def held_to_their_versions(
    answers: Sequence[Answer], legal: Sequence[Stretch], models: Mapping[str, OnnxModel]
) -> tuple[Counter[str], int]:
    """How many decisions each version made, and how many of all were made while nothing moved."""
    by_version: Counter[str] = Counter()
    checked = 0
    for _, asked_s, answered_s, card, decision in answers:
        batch = decision.scores["batch"]
        vector = np.array(decision.vector, dtype=np.float64)
        assert batch.score == models[batch.version].score_one(vector), "the score is that of the version"
        assert decision.score == pytest.approx(batch.score)
        assert not {"batch model", "models", "reasons"} & set(decision.degraded)
        by_version[batch.version] += 1
        for stretch in legal:
            if stretch.since_s <= asked_s and answered_s <= stretch.until_s:
                checked += 1
                assert batch.version == stretch.version_for(card), (card, stretch)
    return by_version, checked


@pytest.fixture
def registry(home: Path) -> Registry:
    """Three versions that say something else of every vector."""
    registry = Registry(home / "models")
    first = registry.aliases("fraud")["champion"]
    content, manifest = registry.content("fraud", first)[0], registry.manifest("fraud", first)
    for version, slope in (("second", 0.7), ("third", 1.4)):
        changed = msgspec.structs.replace(manifest, version=version, calibration=Calibration(slope, -0.3))
        registry.register(content, changed)
    return registry


@pytest.fixture
def service(home: Path, registry: Registry) -> Iterator[tuple[Stack, str]]:
    with Stack(Settings({"home": home, "workers": 2, "deadline": DEADLINE}, {})) as stack:
        stack.start_redis()
        yield stack, stack.start_service()


def test_promotions_canaries_and_rollbacks_fail_no_request_and_mix_no_models(
    home: Path, registry: Registry, service: tuple[Stack, str]
) -> None:
    _, url = service
    first = registry.aliases("fraud")["champion"]
    began = datetime.now(UTC) - timedelta(hours=1)
    numbers, stop = count(), threading.Event()
    answers: list[Answer] = []

    def press(place: int, link: http.client.HTTPConnection) -> None:
        while not stop.is_set():
            number = next(numbers)
            card = CARDS[number % len(CARDS)]
            body = encode(payment(f"e{number}", card_id=card, event_timestamp=began, amount=10.0 + number % 3000))
            asked_s = time.monotonic()
            link.request("POST", "/fraud/score", body, {"content-type": "application/json"})
            answer = link.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            answers.append(Answer(place, asked_s, time.monotonic(), card, decode(content, Decision)))
            time.sleep(0.05)

    legal: list[Stretch] = []
    with ExitStack() as opened:
        links = [opened.enter_context(closing(connected(url))) for _ in range(CLIENTS)]
        pool = opened.enter_context(ThreadPoolExecutor(CLIENTS))
        opened.callback(stop.set)
        pressed = [pool.submit(press, *numbered) for numbered in enumerate(links)]
        for words in ((), *STEPS):
            if words:
                result = CliRunner().invoke(main, ["models", *words, "--by", "ann", "--home", str(home)])
                assert result.exit_code == 0, result.output
            since_s = time.monotonic()
            now = Stretch(since_s, inf, registry.aliases("fraud")["champion"], registry.canary("fraud"))
            while legal and not have_followed(answers, legal[-1], now):
                assert time.monotonic() < since_s + LIMIT_S, now
                assert not any(one.done() for one in pressed), [one.exception(0) for one in pressed if one.done()]
                time.sleep(0.1)
            # Connections are dealt again now and then: a process that had none may have followed later.
            until(lambda now=now: versions_that_score(url) == now.versions, lambda now=now: now)  # type: ignore[misc]
            since_s = time.monotonic()
            time.sleep(STRETCH_S)
            while sum(one.asked_s >= since_s for one in list(answers)) < 6 * CLIENTS:
                assert time.monotonic() < since_s + LIMIT_S, now
                time.sleep(0.05)
            legal.append(now._replace(since_s=since_s, until_s=time.monotonic()))
        stop.set()
        for one in pressed:
            one.result()

    assert len(answers) > 20 * len(STEPS)
    models = {version: registry.load("fraud", version) for version in (first, "second", "third")}
    by_version, checked = held_to_their_versions(answers, legal, models)
    assert checked > 5 * len(legal), "decisions while nothing changed were held to the aliases"
    assert set(by_version) == set(models), by_version
    assert min(by_version.values()) > 10
    history = [(one.alias, one.version) for one in registry.history("fraud")]
    assert history.count(("champion", first)) == 3
