"""A shadow's report is what one would compute by hand from the decisions, whatever came twice or out of turn."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from headrace.forget_files import WatchPlace
from models.ensemble import FRAUD_WEIGHTS, combine
from models.ensemble import Opinion as Said
from models.registry import Registry
from scoring.policy_costs import expected_costs
from scoring.use_case import FRAUD
from scoring.watch_report import Comparison
from stream.mention import Mention
from stream.records import Decision, MemberScore
from tests.training.conftest import START
from tests.training.contest import costs
from tests.training.served import GOOD, HALF
from tests.training.watching import decisions, labels, manifest_of, registry_of, scores, send, watcher_of
from training.shadow import others_heard
from training.watcher import Keeps, Watcher

MODELS = {"half": HALF, "good": GOOD}
NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = registry_of(tmp_path, MODELS, "half", START)
    made.alias("fraud", "shadow", "good", by="ann")
    return made


@pytest.fixture
def served() -> list[Decision]:
    return decisions(MODELS, lambda card, at: "half")


def only(watcher: Watcher) -> Comparison:
    (comparison,) = watcher.report(NOW, []).comparisons
    return comparison


def test_the_report_is_what_one_computes_by_hand(registry: Registry, served: list[Decision]) -> None:
    watcher = watcher_of(registry)
    send(watcher, served)
    send(watcher, labels())
    found = only(watcher)

    records = [decision.record for decision in served]
    good, half = scores(GOOD, 8, 0), scores(HALF, 8, 0)
    newest = max(record.event_timestamp for record in records)
    mature = np.array([record.event_timestamp <= newest - timedelta(days=1) for record in records])
    fraud = np.array([label.label == "fraud" for label in labels()])
    outcomes, cost = {}, {}
    for name, score in (("good", good), ("half", half)):
        chosen = [costs().policy.choose(record, float(p)) for record, p in zip(records, score, strict=True)]
        outcomes[name] = np.array([choice.outcome for choice in chosen])
        expected = np.mean([getattr(choice.expected, choice.outcome) for choice in chosen]) * 1000
        default = costs().policy.default
        came = [
            getattr(expected_costs(default, float(is_fraud), record.amount), choice.outcome)
            for record, choice, is_fraud in zip(records, chosen, fraud, strict=True)
            if choice.segment == "default"
        ]
        cost[name] = (expected, len(came) == len(records) and np.mean(np.array(came)[mature]) * 1000)
    assert (found.version, found.champion, found.rows) == ("good", "half", len(served))
    assert (found.labelled, found.frauds) == (mature.sum(), fraud[mature].sum())
    pairs = Counter(zip(outcomes["half"].tolist(), outcomes["good"].tolist(), strict=True))
    assert {(one, other): n for one, row in found.outcomes.items() for other, n in row.items() if n} == pairs
    assert found.agreement == pytest.approx(np.mean(outcomes["half"] == outcomes["good"]))
    assert 0.0 < found.agreement < 1.0
    for side, name, score in ((found.its, "good", good), (found.champions, "half", half)):
        alerts = outcomes[name] != "approve"
        assert side.alert_rate == pytest.approx(alerts.mean())
        assert side.precision == pytest.approx(fraud[alerts & mature].mean())
        assert side.recall == pytest.approx(alerts[fraud & mature].mean())
        assert side.average_precision == pytest.approx(average_precision_score(fraud[mature], score[mature]))
        assert side.quantiles["p90"] == pytest.approx(np.quantile(score, 0.9))
        assert side.expected_cost == pytest.approx(cost[name][0])
        if cost[name][1]:
            assert side.cost == pytest.approx(cost[name][1])
    assert found.its.average_precision > found.champions.average_precision + 0.05  # type: ignore[operator]
    assert found.psi > 0.1


def test_copies_and_another_order_change_nothing(registry: Registry, served: list[Decision]) -> None:
    served, known = served[:1500], labels()[:1500]
    one, other = watcher_of(registry), watcher_of(registry)
    send(one, served)
    send(one, known)
    shuffled, mixed = random.Random(1), [*served, *served[:300]]
    shuffled.shuffle(mixed)
    for start in range(0, len(mixed), 400):
        send(other, known[start : start + 400] or known[:1], start)  # also before their decisions
        send(other, mixed[start : start + 400], start)
    assert other.report(NOW, []) == one.report(NOW, [])


def test_a_reversed_label_counts_as_what_it_is_now_and_an_unknown_one_as_none(
    registry: Registry, served: list[Decision]
) -> None:
    watcher = watcher_of(registry)
    send(watcher, served)
    send(watcher, labels())
    before = only(watcher)
    first = next(label for label in labels() if label.label == "fraud")
    later = msgspec.structs.replace(first, labelled_at=first.labelled_at + timedelta(hours=1))
    again = [
        msgspec.structs.replace(later, label="legit"),
        first,  # older: it does not come back
        msgspec.structs.replace(later, label="unknown", labelled_at=later.labelled_at + timedelta(hours=1)),
    ]
    send(watcher, again, 10_000)
    assert only(watcher).frauds == before.frauds - 1
    assert only(watcher).labelled == before.labelled


def test_other_members_and_what_rules_added_count_as_they_did(registry: Registry, served: list[Decision]) -> None:
    """Of members that answered, only those in the sum are heard: one that was not ready is not, here neither."""
    first = served[0]
    batch = first.scores["batch"]
    both = {"batch": batch, "online": MemberScore("1.5", 0.9), "feedback": MemberScore("f", 0.3)}
    for names in ((), ("online",), ("feedback",), ("online", "feedback")):
        heard = {name: Said(both[name].score) for name in names}
        whole = combine({"batch": Said(batch.score), **heard}).score
        assert whole is not None
        decision = msgspec.structs.replace(first, scores=both, score=whole + 0.05, score_added=0.05)
        assert others_heard(decision, FRAUD_WEIGHTS) == heard
        watcher = watcher_of(registry)
        send(watcher, [decision])
        said = combine({"batch": Said(float(scores(GOOD, 8, 0)[0])), **heard}).score
        assert said is not None
        assert only(watcher).its.quantiles["p50"] == pytest.approx(said + 0.05, abs=1e-7)
    other_weights = msgspec.structs.replace(first, scores=both, score=0.77)
    assert others_heard(other_weights, FRAUD_WEIGHTS) is None


def test_what_cannot_be_compared_is_counted_with_the_reason(registry: Registry, served: list[Decision]) -> None:
    other = msgspec.structs.replace(manifest_of("other"), definition_hash="elsewhere")
    registry.register(GOOD, other)
    registry.alias("fraud", "challenger", "other")
    decisions = [
        served[0],
        msgspec.structs.replace(served[1], definition_hash="before"),
        msgspec.structs.replace(served[2], scores={}),
        msgspec.structs.replace(served[3], score=0.99),
    ]
    watcher = watcher_of(registry)
    send(watcher, decisions)
    send(watcher, decisions, 100)  # copies are not counted again
    report = watcher.look(NOW)
    assert report.skipped == {
        "good": {
            "its score is of other weights of the members": 1,
            "the champion had no number for it": 1,
            "the decision is of another definition of the features": 1,
        },
        "other": {"it is of another definition of the features": 4},
    }
    assert [one.rows for one in report.comparisons] == [1]
    assert list(report.problems) == ["other"]
    (registry.path("fraud", "good") / "model.onnx").unlink()
    again = watcher_of(registry)
    send(again, labels()[:5])
    assert again.report(NOW, []).skipped == {}, "labels are no decisions"
    send(again, served[:5])
    assert again.report(NOW, []).skipped["good"] == {"it cannot be loaded": 5}


def test_what_is_old_or_too_much_is_let_go(registry: Registry, served: list[Decision]) -> None:
    watcher = watcher_of(registry, keeps=Keeps(decisions=700, early=5))
    for start in range(0, 2000, 500):
        send(watcher, served[start : start + 500], start)
    assert (watcher.report(NOW, []).decisions, only(watcher).rows) == (700, 700)
    aged = watcher_of(registry, keeps=Keeps(max_age_us=86_400_000_000))
    send(aged, served)
    newest = served[-1].event_timestamp
    assert only(aged).rows == sum(newest - one.event_timestamp <= timedelta(days=1) for one in served)


def test_decisions_of_other_use_cases_are_passed_over(registry: Registry, served: list[Decision]) -> None:
    watcher = watcher_of(registry)
    send(watcher, [msgspec.structs.replace(served[0], use_case="other"), served[1]])
    assert watcher.report(NOW, []).decisions == 1
    assert FRAUD.name == "fraud"


def test_nothing_is_left_of_an_event_that_is_to_be_forgotten(
    registry: Registry, served: list[Decision], tmp_path: Path
) -> None:
    file = tmp_path / "watch.sqlite"
    watcher = watcher_of(registry, file)
    send(watcher, served[:20])
    send(watcher, labels()[15:25])
    doomed = [served[number].event_id for number in (3, 17, 22)]
    place = WatchPlace(file)
    mention = Mention("card_id", "c")
    for event_id in doomed:
        mention.events[event_id] = {}
    assert (place.search(mention), place.erase(mention), place.search(mention)) == (3, 3, 0)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("watch.sqlite*"))
    assert not [event_id for event_id in doomed if event_id.encode() + b"\x00" in content]
    assert watcher.report(NOW, []).decisions == 18
    assert served[0].record.card_id.encode() not in content, "no entity is kept"
