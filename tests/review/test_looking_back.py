"""Who is linked to whom, what is near, what the models missed, and how often a flag was right."""

from __future__ import annotations

from contextlib import closing

import pytest

from review.case_store import CaseStore, Missed
from review.refusals import UnknownCase
from review.review_policy import ReviewPolicy
from stream.records import MemberScore
from tests.review.cases import HOUR, LATER, NOON, Make, only

SAMPLING = ReviewPolicy(audit_share=0.25)


def case_of(store: CaseStore, entity: str) -> str:
    return next(case.case_id for case in store.queue(1000) if case.entity == entity)


def test_cards_that_share_a_device_are_two_steps_away(store: CaseStore, decision: Make) -> None:
    store.take_in(
        [
            decision("e1", "a", device_id="d1", customer_id="ann"),
            decision("e2", "b", device_id="d1", merchant_id="other"),
            decision("e3", "b", device_id="d2", merchant_id="other"),
            decision("e4", "c", device_id="d2"),
            decision("e5", "z", device_id="d9"),
        ],
        {},
    )
    store.decide(case_of(store, "b"), "fraud", "ann", NOON)
    graph = store.linked(case_of(store, "a"))
    names = {(node.kind, node.value): node for node in graph.nodes}
    assert {key: node.depth for key, node in names.items()} == {
        ("card", "a"): 0,
        ("customer", "ann"): 1,
        ("device", "d1"): 1,
        ("merchant", "shop"): 1,
        ("card", "b"): 2,
        ("device", "d2"): 2,
    }
    other = names["card", "b"]
    assert (other.cases, other.open, other.fraud, other.hub) == (1, 0, 1, False)
    assert graph.nodes[0].value == "a"
    edges = {tuple(sorted((graph.nodes[edge.a].value, graph.nodes[edge.b].value))) for edge in graph.edges}
    assert edges == {("a", "ann"), ("a", "d1"), ("a", "shop"), ("b", "d1"), ("b", "d2")}
    deeper = store.linked(case_of(store, "a"), depth=3)
    assert ("card", "c") in {(node.kind, node.value) for node in deeper.nodes}
    assert len(store.linked(case_of(store, "a"), limit=3).nodes) == 3


def test_what_everybody_uses_links_nobody(store: CaseStore, decision: Make) -> None:
    store.take_in([decision(f"e{n}", f"card{n}", device_id="everybody's") for n in range(30)], {})
    graph = store.linked(case_of(store, "card0"))
    assert [(node.kind, node.value, node.hub) for node in graph.nodes] == [
        ("card", "card0", False),
        ("device", "everybody's", True),
        ("merchant", "shop", True),
    ]


def test_a_timeline_has_the_events_of_all_cases_of_the_entity(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e2", "a", hour=2), decision("x", "b")], {})
    first = case_of(store, "a")
    store.decide(first, "legit", "ann", NOON)
    store.take_in([decision("e1", "a", hour=1), decision("e3", "a", hour=3)], {})
    assert [flag.event_id for flag in store.timeline(first)] == ["e1", "e2", "e3"]
    assert [flag.event_id for flag in store.timeline(first, limit=2)] == ["e1", "e3"]
    with pytest.raises(UnknownCase):
        store.timeline("c-404")


def test_the_nearest_cases_are_decided_ones_with_like_features(store: CaseStore, decision: Make) -> None:
    vectors = {"same": (1.0, 100.0), "near": (1.0, 110.0), "far": (9.0, 900.0), "blank": (None, None)}
    store.take_in([decision(name, name, vector=vector) for name, vector in vectors.items()], {})
    store.take_in([decision("odd", "odd", vector=(1.0, 100.0), definition_hash="another")], {})
    for name in [*vectors, "odd"]:
        store.decide(case_of(store, name), "fraud" if name == "near" else "legit", "ann", NOON)
    store.take_in([decision("open", "open", vector=(1.0, 100.0)), decision("asked", "asked", vector=(1.0, 101.0))], {})
    similar = store.nearest(case_of(store, "asked"))
    assert [(one.case.entity, one.verdict) for one in similar] == [
        ("same", "legit"),
        ("near", "fraud"),
        ("far", "legit"),
    ]
    assert [one.distance for one in similar] == sorted(one.distance for one in similar)
    assert [one.case.entity for one in store.nearest(case_of(store, "asked"), k=1)] == ["same"]
    with pytest.raises(UnknownCase):
        store.nearest("c-404")
    with pytest.raises(ValueError, match="k is 0"):
        store.nearest("c-404", k=0)


# The audit sample


def test_a_share_of_the_approvals_is_reviewed_and_looks_like_any_other(
    place: str, store: CaseStore, decision: Make
) -> None:
    store.take_in([decision(f"f{n}", f"flagged{n}", amount=10_000.0) for n in range(3)], {})
    approvals = [decision(f"e{n}", f"c{n}", score=0.01, outcome="approve") for n in range(200)]
    with closing(CaseStore(place, policy=SAMPLING)) as sampling:
        taken = sampling.take_in(approvals, {})
        assert sampling.take_in(approvals, {}) == (0, 0, taken.opened)
        assert 20 <= taken.opened <= 85
        cases = sampling.queue(1000)
        assert {case.outcome for case in cases} == {"review"}
        drawn = [case for case in cases if case.entity.startswith("c")]
        assert {flag.outcome for case in drawn for flag in sampling.decisions(case.case_id)} == {"review"}
        # As urgent as the flagged ones that it is drawn from, not as a loss of 1 is: else it would never be reviewed.
        flagged = next(case for case in cases if case.entity == "flagged0")
        assert {round(case.rank, 6) for case in drawn} == {round(flagged.rank, 6)}
        sampling.take_in([decision("another", drawn[0].entity)], {})
        assert sampling.case(drawn[0].case_id).events == drawn[0].events
        for number, case in enumerate(drawn[:10]):
            sampling.decide(
                case.case_id, ("fraud", "legit", "unknown")[min(number, 2) if number < 3 else 1], "ann", NOON
            )
        missed = sampling.missed()
        assert (missed.sampled, missed.decided, missed.fraud) == (taken.opened, 9, 1)
        assert missed.rate == pytest.approx(1 / 9)
        assert missed.low is not None and missed.high is not None
        assert 0.0 < missed.low < 1 / 9 < missed.high < 0.6
        assert sampling.missed(since=LATER) == Missed(sampled=0, decided=0, fraud=0, rate=None, low=None, high=None)
        assert sampling.precision("model") == []


def test_without_a_share_nothing_is_sampled_and_others_cannot_know_what_is(store: CaseStore, decision: Make) -> None:
    approvals = [decision(f"e{n}", f"c{n}", outcome="approve") for n in range(50)]
    assert store.take_in(approvals, {}).opened == 0
    with (
        closing(CaseStore(":memory:", policy=SAMPLING)) as one,
        closing(CaseStore(":memory:", policy=SAMPLING)) as other,
    ):
        for sampling in (one, other):
            sampling.take_in(approvals, {})
        assert {case.event_id for case in one.queue(100)} != {case.event_id for case in other.queue(100)}


# Precision


def test_precision_counts_what_flagged_and_who_decided(store: CaseStore, decision: Make) -> None:
    members = {"batch": MemberScore("3", 0.9), "online": MemberScore("7", 0.2)}
    store.take_in(
        [
            decision("e1", "a", rules=["night"], scores=members),
            decision("e2", "b", rules=["night", "rich"], scores=members),
            decision("e3", "c", rules=["rich"]),
            decision("e4", "d", scores=members),
        ],
        {},
    )
    a, b, c, d = (case_of(store, name) for name in "abcd")
    store.decide(a, "fraud", "ann", NOON)
    store.decide(b, "fraud", "ann", NOON)
    store.decide(b, "legit", "bob", NOON + HOUR)
    store.decide(c, "legit", "bob", NOON)
    store.decide(d, "unknown", "bob", NOON)
    by_rule = {one.name: (one.decided, one.fraud, one.share) for one in store.precision("rule")}
    assert by_rule == {"night": (2, 1, 0.5), "rich": (2, 0, 0.0)}
    by_model = {one.name: (one.decided, one.fraud) for one in store.precision("model")}
    assert by_model == {"batch 3": (2, 1), "rules": (1, 0)}
    by_analyst = {one.name: (one.decided, one.fraud, one.reversed) for one in store.precision("analyst")}
    assert by_analyst == {"ann": (1, 1, 1), "bob": (2, 0, 0)}
    assert [one.name for one in store.precision("rule", since=NOON + HOUR)] == ["night", "rich"]
    assert store.precision("analyst", since=LATER) == []


def test_a_gravest_event_that_comes_later_leads_the_case(store: CaseStore, decision: Make) -> None:
    store.take_in([decision("e1", scores={"batch": MemberScore("3", 0.4)})], {})
    store.take_in([decision("e2", score=0.9, scores={"online": MemberScore("7", 0.9)}, vector=(5.0,))], {})
    store.decide(only(store).case_id, "fraud", "ann", NOON)
    assert [one.name for one in store.precision("model")] == ["online 7"]
