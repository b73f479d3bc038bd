from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from features.feature_set import EntityRef
from models.onnx import OnnxModel
from scoring.deciding import PRIOR_SCORE
from scoring.scorer import EventConflict, Scored, Scorer
from stream.embedded_redis import EmbeddedRedis
from stream.records import Action, Decision, Label, encode
from tests.scoring.conftest import T0, OpenScorer, Says, feature, live, minutes_later, payment

PATIENT_MS = 60_000.0
DEADLINE_MS = 50.0


def logged(scorer: Scorer, topic: str) -> int:
    ledger = scorer.ledger
    return sum(ledger.connection.one("XLEN", f"log:{topic}:{number}") for number in range(ledger.partitions))


def score(scorer: Scorer, event_id: str = "e1", **fields: Any) -> Decision:
    return scorer.score(payment(event_id, **fields), PATIENT_MS)


def test_a_score_sees_every_event_answered_before_it_without_any_worker(scorer: Scorer) -> None:
    first = score(scorer, "e1", amount=10.0)
    scorer.accept(payment("e2", amount=20.0, event_timestamp=minutes_later(1)))
    third = score(scorer, "e3", amount=30.0, event_timestamp=minutes_later(2))
    assert feature(first.vector, "card_count_1h") == 1.0
    assert feature(third.vector, "card_count_1h") == 3.0
    assert feature(third.vector, "card_sum_amount_1h") == pytest.approx(60.0)
    assert first.degraded == third.degraded == []


def test_a_retry_gets_the_stored_decision(scorer: Scorer) -> None:
    first = score(scorer)
    score(scorer, "e2")
    scorer.models = live(Says(0.9))
    assert encode(score(scorer)) == encode(first)
    assert scorer.decision("e1") == first
    assert (logged(scorer, "transactions"), logged(scorer, "decisions")) == (2, 2)


def test_the_same_time_in_another_zone_is_the_same_record(scorer: Scorer) -> None:
    first = score(scorer)
    assert score(scorer, event_timestamp=T0.astimezone(timezone(timedelta(hours=2)))) == first


def test_one_id_for_two_records_is_a_conflict(scorer: Scorer) -> None:
    score(scorer, amount=20.0)
    with pytest.raises(EventConflict, match="'e1' was answered before for another record"):
        score(scorer, amount=21.0)


def test_an_event_sent_not_to_be_scored_cannot_be_scored(scorer: Scorer) -> None:
    scorer.accept(payment())
    with pytest.raises(EventConflict, match="not to be scored"):
        score(scorer)


def test_two_scorers_with_one_event_at_once_answer_alike_and_log_it_once(
    open_scorer: OpenScorer, redis_db: str
) -> None:
    scorers = [open_scorer(redis_db, Says(0.1)), open_scorer(redis_db, Says(0.2))]
    start = Barrier(2)

    def race(scorer: Scorer) -> list[bytes]:
        answers = []
        for number in range(20):
            start.wait(60)
            answers.append(encode(score(scorer, f"e{number}")))
        return answers

    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(race, scorers)
    assert left == right
    assert (logged(scorers[0], "transactions"), logged(scorers[0], "decisions")) == (20, 20)


@pytest.mark.parametrize("said", [RuntimeError("broken"), math.nan, math.inf, 1.5, -0.1])
def test_a_model_that_fails_is_left_out_and_named(scorer: Scorer, said: float | Exception) -> None:
    scorer.models = live(Says(said), Says(0.25))
    decision = score(scorer)
    assert decision.degraded == ["batch model"]
    assert (decision.score, list(decision.scores)) == (0.25, ["online"])
    assert b"NaN" not in encode(decision)


@pytest.mark.parametrize("said", [RuntimeError("broken"), math.nan, None])
def test_without_any_model_the_base_rate_answers(scorer: Scorer, said: float | Exception | None) -> None:
    scorer.models = live(None if said is None else Says(said))
    decision = score(scorer)
    assert (decision.score, decision.degraded, decision.scores) == (PRIOR_SCORE, ["batch model", "models"], {})
    assert b"NaN" not in encode(decision)


def test_a_stale_model_is_left_out_and_named(scorer: Scorer) -> None:
    scorer.models = live(Says(0.01), Says(0.9), age_s=3 * 86_400)
    decision = score(scorer)
    assert (decision.score, decision.degraded) == (0.01, ["online model"])


def test_a_model_that_still_warms_up_is_left_out_and_nothing_is_missing(scorer: Scorer) -> None:
    scorer.models = live(Says(0.01), Says(0.9, ready=False))
    decision = score(scorer)
    assert (decision.score, decision.degraded) == (0.01, [])


def test_reasons_name_the_value_and_what_is_usual(scorer: Scorer, amount_model: OnnxModel) -> None:
    scorer.models = live(amount_model)
    decision = score(scorer, amount=1500.0)
    assert decision.outcome in ("review", "decline")
    (reason,) = decision.reasons
    assert (reason.feature, reason.value, reason.usual) == ("amount", 1500.0, 20.0)
    assert reason.text == "the amount is 1,500.00 EUR, higher than usual for legit traffic: 20.00 EUR"


def test_what_is_approved_needs_no_reasons(scorer: Scorer, amount_model: OnnxModel) -> None:
    scorer.models = live(amount_model)
    decision = score(scorer, amount=20.0)
    assert (decision.outcome, decision.reasons) == ("approve", [])


def test_reasons_that_cannot_be_found_do_not_fail_the_answer(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Says(0.9)
    scorer.models = live(model)
    monkeypatch.delattr(Says, "score_many")
    decision = score(scorer)
    assert (decision.outcome, decision.degraded) == ("decline", ["reasons"])
    (reason,) = decision.reasons
    assert (reason.feature, reason.value) == ("score", 0.9)


def test_what_a_rule_alone_stopped_has_the_rules_reason(scorer: Scorer, amount_model: OnnxModel) -> None:
    scorer.models = live(amount_model)
    first = [score(scorer, f"e{number}", card_id=f"c{number}") for number in range(8)]
    decision = score(scorer, "last", card_id="c9")
    assert [one.outcome for one in first[:7]] == ["approve"] * 7
    assert (decision.outcome, decision.rules, decision.propensity) == ("decline", ["device-of-many-cards"], 1.0)
    assert [reason.text for reason in decision.reasons] == ["one device used many cards within a day"]


def test_a_decision_says_what_each_outcome_was_expected_to_cost(scorer: Scorer) -> None:
    scorer.models = live(Says(0.5))
    decision = score(scorer, amount=5000.0)
    assert (decision.segment, decision.outcome) == ("high amounts", "decline")
    assert decision.expected_cost["approve"] == pytest.approx(0.5 * 5015.0)
    assert decision.expected_cost["decline"] == pytest.approx(0.5 * 158.0)


def test_one_set_of_models_makes_one_decision(scorer: Scorer) -> None:
    asked = []

    def models() -> Any:
        asked.append(1)
        return live(Says(0.9))()

    scorer.models = models
    score(scorer)
    assert len(asked) == 1


def test_a_rule_that_fails_does_not_fail_the_answer(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer.rules, "fired", lambda record, vector: 1 / 0)
    assert score(scorer).degraded == ["rules"]


def test_accept_twice_says_repeated(scorer: Scorer) -> None:
    assert scorer.accept(payment())
    assert not scorer.accept(payment())
    assert logged(scorer, "transactions") == 1
    click = Action(event_id="a1", event_timestamp=T0, user_id="u", action="click")
    assert scorer.accept(click)
    assert not scorer.accept(click)


def test_a_label_is_filled_from_its_decision(scorer: Scorer) -> None:
    score(scorer, amount=77.0)
    label = Label(event_id="e1", label="fraud", labelled_at=minutes_later(60))
    full = scorer.enrich(label)
    assert (full.card_id, full.merchant_id, full.device_id, full.amount) == ("c", "m", "d", 77.0)
    assert (full.event_timestamp, full.labelled_at, full.identity) == (T0, label.labelled_at, label.identity)
    assert scorer.accept(label)
    assert not scorer.accept(label)
    assert label.identity in scorer.store.read([EntityRef("merchant_id", "m")])[0].pending


def test_what_the_sender_of_a_label_says_is_kept_and_the_rest_is_filled(scorer: Scorer) -> None:
    score(scorer, amount=77.0)
    said: dict[str, Any] = {"event_timestamp": minutes_later(-1), "card_id": "c2", "merchant_id": "m2"}
    full = scorer.enrich(Label(event_id="e1", label="fraud", labelled_at=T0, **said))
    assert {name: getattr(full, name) for name in said} == said
    assert (full.device_id, full.amount) == ("d", 77.0)


def test_a_label_of_an_unknown_event_is_taken_as_it_is(scorer: Scorer) -> None:
    label = Label(event_id="never seen", label="legit", labelled_at=T0)
    assert scorer.enrich(label) == label
    assert scorer.accept(label)


def test_an_event_of_the_year_one_is_scored(scorer: Scorer) -> None:
    assert score(scorer, event_timestamp=T0.replace(year=1)).degraded == []
    assert score(scorer, "e2").degraded == []


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    # everysec puts off writes while the disk is busy: a killed server could then have lost what it answered.
    with EmbeddedRedis(tmp_path / "redis", appendfsync="always") as server:
        yield server


def stop(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGSTOP)


def go_on(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGCONT)


def test_a_stopped_redis_is_answered_without_and_recorded_later(
    own_redis: EmbeddedRedis, open_scorer: OpenScorer
) -> None:
    scorer = open_scorer(own_redis.url)
    score(scorer, "before")
    stop(own_redis)
    try:
        started = time.monotonic()
        late = scorer.score(payment("late"), DEADLINE_MS)
        assert time.monotonic() - started < 30  # Redis would have a minute
        assert late.degraded == ["online store", "not recorded yet"]
        assert feature(late.vector, "amount") == 20.0
        assert feature(late.vector, "card_count_1h") is None
        (again,) = scorer.score_all([(payment("late"), DEADLINE_MS)])
        assert again == Scored(late, is_new=False)  # a retry changes nothing
        with pytest.raises(EventConflict):
            scorer.score(payment("late", amount=1.0), DEADLINE_MS)
    finally:
        go_on(own_redis)
    after = score(scorer, "after")
    assert after.degraded == []
    assert scorer.spool.waiting == {}
    kept = scorer.decision("late")
    assert kept is not None
    assert (kept.scored_at, kept.degraded) == (late.scored_at, ["online store"])
    assert logged(scorer, "decisions") == 3


def test_a_retry_records_what_waited_and_says_so(own_redis: EmbeddedRedis, open_scorer: OpenScorer) -> None:
    scorer = open_scorer(own_redis.url)
    stop(own_redis)
    try:
        late = scorer.score(payment(), DEADLINE_MS)
    finally:
        go_on(own_redis)
    (found,) = scorer.score_all([(payment(), PATIENT_MS)])
    assert isinstance(found, Scored)
    again = found.decision
    assert (again.scored_at, again.degraded, found.is_new) == (late.scored_at, ["online store"], False)
    assert (scorer.spool.waiting, logged(scorer, "decisions")) == ({}, 1)
    assert score(scorer) == again


def test_what_waited_is_recorded_when_the_scorer_closes(own_redis: EmbeddedRedis, open_scorer: OpenScorer) -> None:
    scorer = open_scorer(own_redis.url)
    stop(own_redis)
    try:
        for number in range(25):
            scorer.score(payment(f"e{number}"), 2.0)
    finally:
        go_on(own_redis)
    scorer.close(PATIENT_MS)
    assert (scorer.spool.waiting, logged(scorer, "decisions")) == ({}, 25)


def test_one_decision_that_cannot_be_recorded_does_not_hold_up_the_others(
    own_redis: EmbeddedRedis, open_scorer: OpenScorer
) -> None:
    scorer = open_scorer(own_redis.url)
    scorer.ledger.connection.one("SET", scorer.store.key(EntityRef("card_id", "broken")), "no hash")
    broken = score(scorer, "e1", card_id="broken")
    assert broken.degraded == ["online store", "not recorded yet"]
    stop(own_redis)
    try:
        scorer.score(payment("e2"), DEADLINE_MS)
    finally:
        go_on(own_redis)
    score(scorer, "e3")
    assert list(scorer.spool.waiting) == ["e1"]
    assert scorer.decision("e2") is not None


def test_a_redis_that_was_killed_and_came_back_is_used_again(own_redis: EmbeddedRedis, open_scorer: OpenScorer) -> None:
    scorer = open_scorer(own_redis.url)
    before = score(scorer, "before")
    own_redis.kill()
    gone = scorer.score(payment("gone", event_timestamp=T0 + timedelta(minutes=1)), DEADLINE_MS)
    assert gone.degraded == ["online store", "not recorded yet"]
    own_redis.start()
    assert score(scorer, "before") == before
    after = score(scorer, "after", event_timestamp=T0 + timedelta(minutes=2))
    assert after.degraded == []
    assert feature(after.vector, "card_count_1h") == 2.0  # the one that waits is recorded after it
    assert scorer.decision("gone") is not None
    last = score(scorer, "last", event_timestamp=T0 + timedelta(minutes=3))
    assert feature(last.vector, "card_count_1h") == 4.0


def test_a_retry_while_redis_is_away_gets_the_answer_that_was_recorded(open_scorer: OpenScorer, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        scorer = open_scorer(server.url)
        first = score(scorer)
    scorer.models = live(Says(0.9))
    assert scorer.score(payment("e1"), DEADLINE_MS) == first
    with pytest.raises(EventConflict):
        scorer.score(payment("e1", amount=1.0), DEADLINE_MS)
    assert scorer.score(payment("e2"), DEADLINE_MS).degraded[0] == "online store"
