"""Rules on their way to every scorer: live within a second, without a restart, whatever goes wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scoring.api import Api
from scoring.rule_feed import RuleFeed
from scoring.rule_log import RuleLog, book_key
from scoring.rule_steps import Approved, Backtested, Drafted, Expired, Listed, Shadowed, Snoozed, Step, encode_step
from scoring.rules import Rule, RuleSet, read_rules
from scoring.scorer import Scorer
from scoring.use_case import FRAUD
from stream.connection import RedisConnection
from stream.records import Decision, decode, encode
from tests.scoring.conftest import PATIENT_MS, OpenScorer, Says, payment
from tests.scoring.test_rule_book import report

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 240.0
"""Feeds look several times a second; a busy machine may keep them from it for long."""
SHIPPED = read_rules(FRAUD.rules)
Write = Callable[[Step], int]


def now() -> datetime:
    return datetime.now(UTC)


def life(when: str = "amount >= 0", name: str = "mine", revision: int = 1, **of: Any) -> list[Step]:
    """A rule's way until it is live."""
    written = Rule(name=name, when=when, **{"action": "review", **of})
    named: dict[str, Any] = {"name": name, "revision": revision}
    return [
        Drafted(at=now(), by="ann", rule=written, revision=revision),
        Backtested(at=now(), by="ann", report=report(), **named),
        Shadowed(at=now(), by="ann", **named),
        Approved(at=now(), by="bob", expires_at=None, **named),
    ]


def listed(card: str, name: str = "deny") -> Listed:
    return Listed(at=now(), by="ann", list=name, field="card_id", values=(card,), until=now() + timedelta(hours=1))


@pytest.fixture
def connection(redis_db: str) -> Iterator[RedisConnection]:
    with RedisConnection(redis_db) as opened:
        yield opened


@pytest.fixture
def write(connection: RedisConnection) -> Write:
    return RuleLog(connection, "fraud", SHIPPED, FRAUD.features).append


@pytest.fixture
def open_feed(redis_db: str) -> Iterator[Callable[..., RuleFeed]]:
    opened: list[RuleFeed] = []

    def open_one(url: str = redis_db) -> RuleFeed:
        log = RuleLog(RedisConnection(url, timeout_ms=10_000), "fraud", SHIPPED, FRAUD.features)
        opened.append(RuleFeed(log))
        return opened[-1]

    yield open_one
    for feed in opened:
        feed.stop()


def eventually(answer: Callable[[], bool]) -> float:
    """How long it took until it was so, in seconds; an error after some minutes."""
    started = time.monotonic()
    while not answer():
        assert time.monotonic() - started < LIMIT_S
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
def scorers(open_scorer: OpenScorer, open_feed: Callable[..., RuleFeed], redis_db: str) -> list[Scorer]:
    """Two scorers as in two worker processes, each with a feed that runs."""
    found = []
    for _ in range(2):
        scorer = open_scorer(redis_db)
        feed = open_feed()
        feed.start()
        scorer.rules = feed
        found.append(scorer)
    return found


number = iter(range(10**9))


def asked(scorer: Scorer, **fields: Any) -> Decision:
    return scorer.score(payment(f"p{next(number)}", **fields), deadline_ms=PATIENT_MS)


def test_a_step_takes_effect_in_every_scorer_within_a_second(scorers: list[Scorer], write: Write) -> None:
    assert [asked(scorer).rules for scorer in scorers] == [[], []]
    steps = life()
    for step in steps[:3]:
        write(step)
    for scorer in scorers:
        assert eventually(lambda scorer=scorer: asked(scorer).shadow_rules == ["mine"]) < LIMIT_S  # type: ignore[misc]
        assert asked(scorer).outcome == "approve"
    version = write(steps[3])
    for scorer in scorers:
        assert eventually(lambda scorer=scorer: asked(scorer).rules == ["mine"]) < LIMIT_S  # type: ignore[misc]
        decision = asked(scorer)
        assert (decision.outcome, decision.shadow_rules, decision.rules_version) == ("review", [], version)
        assert decision.degraded == []
    write(Expired(at=now(), by="eve", name="mine"))
    for scorer in scorers:
        assert eventually(lambda scorer=scorer: asked(scorer).rules == []) < LIMIT_S  # type: ignore[misc]


WORKER = """
import math, sys, time
from headrace.assembly import open_rule_log
from headrace.settings import Settings
from scoring.api import Api
from scoring.rule_feed import RuleFeed
from scoring.use_case import FRAUD
from tests.scoring.conftest import payment

feed = RuleFeed(open_rule_log(Settings({"redis": sys.argv[1]}), FRAUD))
feed.start()
print("ready", flush=True)
while "mine" not in feed.fired(payment(), [math.nan] * len(FRAUD.features.names)).names:
    time.sleep(0.005)
print(time.time(), flush=True)
"""


def test_a_step_takes_effect_in_every_process_within_a_second(write: Write, redis_db: str) -> None:
    command = [sys.executable, "-c", WORKER, redis_db]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for step in life():
            write(step)
        live_at_s = time.time()
        for worker in workers:
            assert worker.stdout is not None
            assert float(worker.stdout.readline()) - live_at_s < LIMIT_S
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_lists_and_snoozes_take_effect_within_a_second(scorers: list[Scorer], write: Write) -> None:
    write(listed("thief"))
    for scorer in scorers:
        assert eventually(lambda scorer=scorer: asked(scorer, card_id="thief").outcome == "decline") < LIMIT_S  # type: ignore[misc]
    assert asked(scorers[0], card_id="other").outcome == "approve"
    until = now() + timedelta(hours=1)
    write(Snoozed(at=now(), by="ann", name="denied", field="card_id", value="thief", until=until))
    for scorer in scorers:
        assert eventually(lambda scorer=scorer: asked(scorer, card_id="thief").outcome == "approve") < LIMIT_S  # type: ignore[misc]
    assert asked(scorers[0], card_id="thief").snoozed_rules == ["denied"]


def test_what_rules_add_and_attach_is_in_the_decision(
    open_scorer: OpenScorer, open_feed: Callable[..., RuleFeed], redis_db: str, write: Write
) -> None:
    scorer = open_scorer(redis_db, Says(0.25))
    scorer.rules = feed = open_feed()
    for step in (
        *life(name="worse", action="add", add=0.9),
        *life(name="mule", action="tag", tag="mule"),
    ):
        write(step)
    feed.refresh()
    decision = asked(scorer, amount=500.0)
    assert (decision.score, decision.score_added, decision.tags) == (1.0, 0.75, ["mule"])
    assert decision.scores["batch"].score == 0.25
    assert decision.outcome == "decline"
    assert sorted(decision.rules) == ["mule", "worse"]
    assert decode(encode(decision), Decision) == decision


def test_an_old_decision_can_be_read(scorer: Scorer) -> None:
    content = msgspec.json.decode(encode(asked(scorer)))
    for name in ("tags", "score_added", "shadow_rules", "snoozed_rules", "rules_version"):
        del content[name]
    old: Decision = decode(msgspec.json.encode(content), Decision)
    assert (old.tags, old.score_added, old.rules_version) == ([], 0.0, 0)


def test_until_the_book_was_read_the_shipped_rules_answer_and_say_so(
    open_scorer: OpenScorer, open_feed: Callable[..., RuleFeed], redis_db: str
) -> None:
    scorer = open_scorer(redis_db)
    scorer.rules = feed = open_feed("redis://127.0.0.1:1/0")
    feed.refresh()
    assert "did not answer" in feed.problems["book"]
    assert asked(scorer).degraded == ["rule book"]
    assert isinstance(feed.current, RuleSet)
    assert len(feed.current.rules) == len(SHIPPED)


def test_a_scorer_is_not_ready_before_its_rules_were_read(
    open_scorer: OpenScorer, open_feed: Callable[..., RuleFeed], redis_db: str
) -> None:
    scorer = open_scorer(redis_db)
    scorer.rules = feed = open_feed()
    api = Api(scorer, 60_000, 60_000)
    assert "rule book was not read" in api.ready()[0]
    feed.refresh()
    assert api.ready() == []


def test_when_redis_goes_the_present_rules_stay(
    open_feed: Callable[..., RuleFeed], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = open_feed()
    for step in life():
        write(step)
    feed.refresh()
    before = feed.current
    with RedisConnection("redis://127.0.0.1:1/0") as gone, monkeypatch.context() as patch:
        patch.setattr(feed._rule_log, "connection", gone)
        feed.refresh()
        assert feed.current is before
        assert "did not answer" in feed.problems["book"]
    feed.refresh()
    assert feed.problems == {}


def test_a_rule_written_for_other_features_degrades_only_itself(
    open_scorer: OpenScorer,
    open_feed: Callable[..., RuleFeed],
    redis_db: str,
    connection: RedisConnection,
    write: Write,
) -> None:
    for step in (*life("feature_of_yesterday > 1", "old"), *life("shadow_of_yesterday > 1", "ghost")[:3]):
        connection.one("RPUSH", book_key("fraud"), encode_step(step))
    for step in life():
        write(step)
    scorer = open_scorer(redis_db)
    scorer.rules = feed = open_feed()
    feed.refresh()
    decision = asked(scorer)
    assert (decision.rules, decision.degraded, decision.shadow_rules) == (["mine"], ["rule old"], [])
    assert set(feed.problems) == {"old", "ghost"}


def test_a_change_of_a_list_compiles_nothing_anew(open_feed: Callable[..., RuleFeed], write: Write) -> None:
    from features.expression_code import _compiled

    feed = open_feed()
    feed.refresh()
    write(listed("first"))
    feed.refresh()
    compiled = _compiled.cache_info().misses
    write(listed("second"))
    feed.refresh()
    assert _compiled.cache_info().misses == compiled
    assert feed.fired(payment(card_id="second"), [float("nan")] * len(FRAUD.features.names)).names == ["denied"]
