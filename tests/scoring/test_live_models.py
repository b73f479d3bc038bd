from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.ensemble import Combined, Opinion, combine
from models.online import OnlineLearner
from models.registry import Registry
from models.shap import NotExplainable
from models.snapshot import ALIVE_EXPIRY_MS, OnlineSettings, alive_key
from scoring.live_models import ModelFeed
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.records import Transaction
from tests.scoring.conftest import MANIFEST
from training.publisher import RedisPublisher, model_key

DAY_MS = 86_400_000


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


@pytest.fixture
def publisher(connection: RedisConnection) -> RedisPublisher:
    sending = RedisPublisher(connection)
    sending.send_weights(OnlineLearner(("amount",), definition_hash="h").to_weights())
    return sending


@pytest.fixture
def feed(redis_db: str, tmp_path: Path) -> Iterator[ModelFeed]:
    made = ModelFeed("fraud", "h", Registry(tmp_path), redis_db)
    yield made
    made.stop()


def age_s(feed: ModelFeed) -> float:
    feed.refresh()
    assert feed.current.online is not None
    return time.monotonic() - feed.current.online_at_s


def asked(feed: ModelFeed) -> Combined:
    """The ensemble's answer, as the scorer asks for it."""
    return combine({"batch": Opinion(0.5), "online": Opinion(0.9, age_s=age_s(feed))})


def silent_for(connection: RedisConnection, ms: int) -> None:
    """Redis as it is so long after the learner's last sign of life."""
    connection.one("PEXPIRE", alive_key("fraud"), ALIVE_EXPIRY_MS - ms)


def test_while_the_learner_lives_its_model_is_fresh(feed: ModelFeed, publisher: RedisPublisher) -> None:
    publisher.send_heartbeat()
    assert age_s(feed) < 60.0
    assert "online" not in asked(feed).left_out


def test_the_weights_of_a_dead_learner_grow_old_though_they_can_be_read(
    feed: ModelFeed, publisher: RedisPublisher, connection: RedisConnection
) -> None:
    publisher.send_heartbeat()
    silent_for(connection, 3 * DAY_MS)
    assert age_s(feed) == pytest.approx(3 * 86_400, abs=60.0)
    assert asked(feed).left_out["online"] == "stale"


def test_a_learner_that_comes_back_is_heard_again(
    feed: ModelFeed, publisher: RedisPublisher, connection: RedisConnection
) -> None:
    publisher.send_heartbeat()
    silent_for(connection, 3 * DAY_MS)
    assert asked(feed).left_out["online"] == "stale"
    publisher.send_heartbeat()
    assert "online" not in asked(feed).left_out


def test_weights_without_any_sign_of_life_are_stale(feed: ModelFeed, publisher: RedisPublisher) -> None:
    assert age_s(feed) == math.inf
    assert asked(feed).left_out["online"] == "stale"


def test_when_the_last_sign_of_life_has_expired_the_model_goes_on_growing_old(
    feed: ModelFeed, publisher: RedisPublisher, connection: RedisConnection
) -> None:
    publisher.send_heartbeat()
    feed.refresh()
    before = feed.current.online_at_s
    connection.one("DEL", alive_key("fraud"))
    feed.refresh()
    assert feed.current.online_at_s == before


def test_without_redis_the_present_model_stays_and_grows_old(
    feed: ModelFeed, publisher: RedisPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.send_heartbeat()
    feed.refresh()
    before = feed.current
    with RedisConnection("redis://127.0.0.1:1/0") as gone, monkeypatch.context() as patch:
        patch.setattr(feed, "_connection", gone)
        feed.refresh()
    assert (feed.current.online, feed.current.online_at_s) == (before.online, before.online_at_s)
    assert "did not answer" in feed.problems["online"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{}", "no weights"),
        (OnlineLearner(("amount",), definition_hash="other").to_weights().to_json(), "definition other"),
    ],
)
def test_weights_that_cannot_be_used_confirm_nothing(
    feed: ModelFeed, publisher: RedisPublisher, connection: RedisConnection, content: bytes, complaint: str
) -> None:
    publisher.send_heartbeat()
    feed.refresh()
    before = feed.current
    connection.one("SET", model_key("fraud"), content)
    publisher.send_heartbeat()
    feed.refresh()
    assert (feed.current.online, feed.current.online_at_s) == (before.online, before.online_at_s)
    assert complaint in feed.problems["online"]


def test_a_key_of_another_kind_is_a_problem_and_not_the_end(feed: ModelFeed, connection: RedisConnection) -> None:
    connection.one("RPUSH", model_key("fraud"), "a list")
    feed.refresh()
    assert "WRONGTYPE" in feed.problems["online"]
    assert feed.current.online is None


@pytest.mark.parametrize(("silent_ms", "degraded"), [(0, False), (3 * DAY_MS, True)])
def test_a_decision_says_so_when_the_learner_has_been_silent_for_too_long(
    open_scorer: Callable[..., Scorer],
    connection: RedisConnection,
    redis_db: str,
    tmp_path: Path,
    silent_ms: int,
    degraded: bool,
) -> None:
    ours = FRAUD.features
    learner = OnlineLearner(ours.names, definition_hash=ours.definition_hash, settings=OnlineSettings(min_labels=1))
    for verdict in (True, False):
        learner.learn_one(np.zeros(len(ours.names)), verdict)
    publisher = RedisPublisher(connection)
    publisher.send_weights(learner.to_weights())
    publisher.send_heartbeat()
    silent_for(connection, silent_ms)
    feed = ModelFeed("fraud", ours.definition_hash, Registry(tmp_path), redis_db)
    feed.refresh()
    scorer = open_scorer(redis_db)
    scorer.models = lambda: feed.current
    decision = scorer.score(
        Transaction(
            event_id="e", event_timestamp=datetime(2026, 1, 31, tzinfo=UTC), card_id="c", merchant_id="m", amount=1.0
        )
    )
    feed.stop()
    assert ("online model" in decision.degraded) is degraded


@pytest.fixture
def champion(tmp_path: Path, amount_artifact: bytes) -> Registry:
    registry = Registry(tmp_path)
    registry.alias("fraud", "champion", registry.register(amount_artifact, MANIFEST))
    return registry


def test_a_new_champion_comes_with_what_finds_its_reasons(redis_db: str, champion: Registry) -> None:
    feed = ModelFeed("fraud", FRAUD.features.definition_hash, champion, redis_db)
    feed.refresh()
    read = feed.current.read
    assert read is not None
    assert (read.manifest.version, read.unit) == ("v1", "log-odds")
    feed.refresh()
    assert feed.current.read is read
    feed.stop()


def test_a_champion_that_cannot_be_read_apart_still_scores(
    redis_db: str, champion: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str, version: str) -> None:
        raise NotExplainable(f"{name} {version} has a step 'Sigmoid'")

    monkeypatch.setattr(champion, "read", unknown)
    feed = ModelFeed("fraud", FRAUD.features.definition_hash, champion, redis_db)
    feed.refresh()
    assert feed.current.batch is not None
    assert feed.current.read is None
    feed.stop()
