"""Logged decisions are recomputed from the audit chain, bit for bit; what was tampered with, or is gone, is named."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from scoring.audit_artefacts import policy_subject
from scoring.audit_sources import NotKept
from scoring.recomputed import Recomputed
from scoring.rule_log import book_key
from scoring.rule_steps import Listed, Unlisted
from stream.chain import Chain
from stream.chain_check import ChainCheck
from stream.chain_entry import Draft
from stream.connection import RedisConnection
from stream.records import Decision, decode, encode
from tests.scoring.auditing import KEY, Office, open_office, score_varied
from tests.scoring.conftest import NAMES
from tests.scoring.test_rule_feed import life, now

CHECKED = {
    *("event_id", "event_timestamp", "definition_hash", "score", "score_added", "outcome", "propensity", "segment"),
    *("expected_cost", "review_free", "draw_free", "rules", "shadow_rules", "snoozed_rules", "tags", "rules_version"),
    *("policy_version", "reasons", "degraded"),
}
GIVEN = {"scored_at", "use_case", "vector", "record", "approximate", "latency_us", "scores"}


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, amount_artifact: bytes
) -> Iterator[tuple[Office, list[Decision]]]:
    """An office that has scored some two hundred payments and kept them."""
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHALL")
    with open_office(tmp_path_factory.mktemp("office"), redis_url, amount_artifact) as opened:
        decisions = score_varied(opened)
        opened.keep()
        yield opened, decisions


def replay(office: Office, event_id: str, key: str = KEY, chain: Chain | None = None) -> Recomputed:
    sources, recomputer = office.recomputer(key, chain)
    return recomputer.run(sources.decisions(event_id)[-1])


def without(office: Office, folder: Path, change: dict[str, bytes | None]) -> Chain:
    """A chain of its own with the same entries, recomputed from end to end, but for those that are changed or gone."""
    made = Chain(folder)
    for _, entry in office.chain.entries():
        payload = next((to for prefix, to in change.items() if entry.subject.startswith(prefix)), entry.payload)
        if payload is not None and entry.kind != "opened":
            made.append([Draft(entry.kind, entry.subject, entry.source, payload)])  # type: ignore[arg-type]
    return made


def test_the_payments_are_of_all_kinds(office: tuple[Office, list[Decision]]) -> None:
    _, decisions = office
    outcomes = Counter(decision.outcome for decision in decisions)
    assert min(outcomes[name] for name in ("approve", "review", "decline")) >= 5
    degraded = {one for decision in decisions for one in decision.degraded}
    assert degraded >= {"rule book", "models", "batch model", "feedback model", "online model", "reasons"}
    assert any(set(decision.scores) == {"batch", "feedback", "online"} for decision in decisions)
    assert {True, False, None} == {decision.review_free for decision in decisions}
    assert {True, False, None} == {decision.draw_free for decision in decisions}
    assert len({decision.rules_version for decision in decisions}) >= 9
    assert len({decision.scores["online"].version for decision in decisions if "online" in decision.scores}) == 3
    assert any(decision.snoozed_rules for decision in decisions)
    assert any(decision.shadow_rules for decision in decisions)
    assert any(decision.tags for decision in decisions)
    assert any(decision.score_added for decision in decisions)
    assert any(decision.propensity == 0.1 for decision in decisions)
    assert any("denied" in decision.rules for decision in decisions)


def test_every_decision_is_recomputed_bit_for_bit(office: tuple[Office, list[Decision]]) -> None:
    opened, decisions = office
    sources, recomputer = opened.recomputer()
    recorded = [decision for decision in decisions if "not recorded yet" not in decision.degraded]
    assert len(recorded) > 190
    for decision in recorded:
        found = recomputer.run(sources.decisions(decision.event_id)[-1])
        assert (found.differing, found.unchecked) == ([], {}), decision
        names = {field.name for field in found.fields}
        assert names == CHECKED | {f"scores.{name}" for name in decision.scores}
    assert set(Decision.__struct_fields__) == CHECKED | GIVEN
    assert ChainCheck(opened.chain.directory).run().is_good


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"score": 0.25}, "score"),
        ({"outcome": "approve"}, "outcome"),
        ({"propensity": 0.5}, "propensity"),
        ({"rules": []}, "rules"),
        ({"reasons": []}, "reasons"),
        ({"review_free": True, "outcome": "review"}, "outcome"),
    ],
)
def test_a_field_changed_in_a_chain_written_anew_differs(
    office: tuple[Office, list[Decision]], tmp_path: Path, change: dict[str, object], differs: str
) -> None:
    opened, decisions = office
    declined = next(one for one in decisions if one.outcome == "decline" and one.rules and one.reasons)
    entry = opened.recomputer()[0].decisions(declined.event_id)[-1]
    forged = encode(msgspec.structs.replace(decode(entry.payload, Decision), **change))
    chain = without(opened, tmp_path / "forged", {entry.subject: forged})
    assert ChainCheck(chain.directory).run().is_good
    assert differs in replay(opened, declined.event_id, chain=chain).differing


def test_the_last_bit_of_a_models_score_differs(office: tuple[Office, list[Decision]], tmp_path: Path) -> None:
    opened, decisions = office
    scored = next(one for one in decisions if set(one.scores) == {"batch", "online"})
    entry = opened.recomputer()[0].decisions(scored.event_id)[-1]
    for name, member in scored.scores.items():
        forged = msgspec.structs.replace(member, score=math.nextafter(member.score, 1.0))
        content = encode(msgspec.structs.replace(scored, scores={**scored.scores, name: forged}))
        chain = without(opened, tmp_path / name, {entry.subject: content})
        assert f"scores.{name}" in replay(opened, scored.event_id, chain=chain).differing


def test_what_was_not_kept_is_named_and_the_rest_is_checked(
    office: tuple[Office, list[Decision]], tmp_path: Path
) -> None:
    opened, decisions = office
    scored = [one for one in decisions if set(one.scores) == {"batch", "online"} and one.outcome == "decline"][-1]
    policy = policy_subject("fraud", scored.policy_version)
    cases = {
        "weights:": ("the online weights", {"scores.online", "score", "score_added"}),
        "rules:": ("the steps of the rule book", {"rules", "outcome", "tags", "reasons", "score", "degraded"}),
        policy: ("the text of policy", {"outcome", "propensity", "segment", "expected_cost", "reasons"}),
    }
    for prefix, (says, fields) in cases.items():
        chain = without(opened, tmp_path / prefix[:5], {prefix: None})
        found = replay(opened, scored.event_id, chain=chain)
        assert found.differing == []
        assert fields <= set(found.unchecked)
        assert "scores.batch" not in found.unchecked
        assert any(says in why for why in found.unchecked.values())


def test_a_model_file_that_is_gone_is_named(office: tuple[Office, list[Decision]], tmp_path: Path) -> None:
    opened, decisions = office
    declined = next(one for one in decisions if one.outcome == "decline" and "batch" in one.scores and not one.rules)
    path = opened.registry.path("fraud", declined.scores["batch"].version)
    shutil.move(path, tmp_path / "away")
    try:
        found = replay(opened, declined.event_id)
    finally:
        shutil.move(tmp_path / "away", path)
    assert found.differing == []
    assert set(found.unchecked) == {"scores.batch", "reasons"}
    assert "cannot be loaded from the registry" in found.unchecked["scores.batch"]


def test_without_the_key_of_the_draws_the_outcome_is_not_checked(office: tuple[Office, list[Decision]]) -> None:
    opened, decisions = office
    drawn = next(one for one in decisions if one.propensity < 1.0)
    assert set(replay(opened, drawn.event_id, key="").unchecked) == {"outcome", "propensity", "reasons"}


def test_an_event_that_nobody_kept_is_not_there(office: tuple[Office, list[Decision]]) -> None:
    with pytest.raises(NotKept, match="no decision on event 'nobody'"):
        replay(office[0], "nobody")


def test_weights_that_bear_a_version_again_are_both_kept(office: tuple[Office, list[Decision]]) -> None:
    opened, _ = office
    for number in range(3):
        opened.score(f"again{number}", amount=1700.0)
        opened.learner.observe(np.full(len(NAMES), 3.0 + number))
        opened.learn(0)
    opened.keep()
    for number in range(3):
        assert replay(opened, f"again{number}").differing == []


def test_a_rule_that_ends_while_its_score_is_held_up_is_recomputed_as_it_was_asked(
    office: tuple[Office, list[Decision]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, _ = office
    began, held_s, perf_counter = now(), [0.0], time.perf_counter
    passing = SimpleNamespace(**{**vars(time), "perf_counter": lambda: perf_counter() + held_s[0]})

    def held_up() -> datetime:
        held_s[0] += 3.0
        return began + timedelta(seconds=held_s[0])

    deny: dict[str, Any] = {"list": "deny", "field": "card_id", "by": "ann", "values": ("card-held-up",)}
    opened.book.append(Listed(at=began, until=began + timedelta(seconds=1), **deny))
    with monkeypatch.context() as patched:
        patched.setattr("scoring.deciding.time", passing)
        patched.setattr(opened.scorer, "clock", held_up)
        patched.setattr(opened.rules, "_clock", lambda: began.timestamp() + held_s[0])
        opened.rules.refresh()
        decision = opened.score("held-up", card_id="card-held-up")
    opened.book.append(Unlisted(at=now(), **deny))
    opened.rules.refresh()
    opened.keep()
    assert ("denied" in decision.rules, decision.scored_at) == (True, began + timedelta(seconds=3))
    assert replay(opened, "held-up").differing == []


def test_a_rule_book_that_redis_lost_and_began_anew_is_kept_beside_the_old_one(
    office: tuple[Office, list[Decision]], redis_url: str
) -> None:
    opened, decisions = office
    with RedisConnection(redis_url) as connection:
        connection.one("DEL", book_key("fraud"))
    for step in life("amount > 3", "another", action="tag", tag="new"):
        opened.book.append(step)
    opened.rules.refresh()
    tagged = opened.score("of-the-new-book", amount=50.0)
    assert (tagged.tags, tagged.rules_version) == (["new"], 4)
    opened.keep()
    for decision in (tagged, *(one for one in decisions[::20] if "not recorded yet" not in one.degraded)):
        found = replay(opened, decision.event_id)
        assert (found.differing, found.unchecked) == ([], {}), decision
