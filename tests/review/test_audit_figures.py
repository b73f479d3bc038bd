"""Figures of an office that reviews a share of the approvals too: drawn, judged on the pages, and counted by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from hashlib import blake2b
from html import unescape

import pytest
from scipy.stats import binomtest

from review.audit_sample import SECRET
from review.case_filter import QueueFilter
from review.review_policy import ReviewPolicy
from review.tables import FACTS
from stream.records import Decision, MemberScore, Outcome
from tests.review.cases import Make
from tests.review.office import NOON, Desk, Office
from tests.review.quick_stores import ON_BOTH

APPROVALS, KEY = 40, b"k" * 32


def number_of(event_id: str) -> float:
    """What is drawn for an event, in [0, 1): by the definition, not by the project's code."""
    return int.from_bytes(blake2b(event_id.encode(), key=KEY, digest_size=8).digest()) / 2**64


SHARE = 0.28
DRAWN = [event_id for event_id in (f"a{number}" for number in range(APPROVALS)) if number_of(event_id) < SHARE]
BATCH, ONLINE = {"batch": 0.9, "online": 0.2}, {"batch": 0.1, "online": 0.8}
FLAGS: dict[str, tuple[Outcome, dict[str, float], list[str]]] = {
    "f1": ("decline", BATCH, ["night"]),
    "f2": ("decline", BATCH, ["night", "abroad"]),
    "f3": ("review", BATCH, []),
    "f4": ("review", BATCH, ["night"]),
    "f5": ("review", ONLINE, ["night"]),
    "f6": ("review", ONLINE, []),
    "f7": ("review", {}, ["abroad"]),
}


@pytest.fixture
def office(one_place: str, decision: Make) -> Iterator[Office]:
    with closing(Office(one_place, ReviewPolicy(audit_share=SHARE, undo_s=0.0))) as opened:
        with opened.cases.database.writing() as db:
            db.execute(FACTS.insert().values(name=SECRET, value=KEY))
        opened.cases.take_in(list(events(decision)), {})
        yield opened


def events(decision: Make) -> Iterator[Decision]:
    at = {"hour": (NOON - timedelta(hours=1) - decision("x").event_timestamp) / timedelta(hours=1)}
    for event_id, (outcome, scores, rules) in FLAGS.items():
        members = {name: MemberScore("7", score) for name, score in scores.items()}
        yield decision(event_id, f"card-{event_id}", 0.8, outcome=outcome, scores=members, rules=rules, **at)
    for number in range(APPROVALS):
        members = {"batch": MemberScore("7", 0.01)}
        yield decision(f"a{number}", f"card-a{number}", 0.01, outcome="approve", scores=members, **at)


def judge(desk: Desk, office: Office, verdict: str, *event_ids: str) -> None:
    """A verdict on the cases of these events, given on the queue's page."""
    every = [*office.cases.queue(100, now=office.now), *office.cases.queue(100, filter=QueueFilter(status="decided"))]
    ids = [case.case_id for case in every if case.event_id in event_ids]
    assert len(ids) == len(event_ids)
    desk.get("/review")
    desk.send("/review/bulk", ids=ids, verdict=verdict)


def rows_of(page: str, name: str) -> list[tuple[str, ...]]:
    """The rows of one table of the page: names, counts, share and interval, as they are written."""
    section = re.search(rf'<section[^>]* aria-labelledby="{name}-name">(.*?)</section>', page, re.S)
    assert section
    rows = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", section[1], re.S)
    return [
        tuple(re.sub(r"<[^>]*>", " ", unescape(cell)).strip() for cell in re.split(r"</t[hd]>", row)[:-1])
        for row in rows
    ]


def interval(hits: int, tries: int) -> str:
    """Wilson's, from another source than the project's."""
    low, high = binomtest(hits, tries).proportion_ci(method="wilson")
    return "–".join(f"{100 * bound:.0f}%" if bound >= 0.1 else f"{100 * bound:.2g}%" for bound in (low, high))


@ON_BOTH
def test_what_was_drawn_and_judged_is_what_a_hand_counts(office: Office) -> None:
    ann, bob, lea = office.desk("ann"), office.desk("bob"), office.desk("lea", "lead")
    # Drawn are eleven, and to whoever reviews they are reviews like the others.
    assert len(DRAWN) == 11
    queue = ann.get("/review").text
    assert all(f"card-{event_id}" in queue for event_id in [*FLAGS, *DRAWN])
    for path in ("/review", f"/review/cases/{case_of(office, DRAWN[0])}"):
        text = ann.get(path).text
        assert not re.search(r"sampled|drawn|audit_share|outcome approve|>approve<", text), path

    judge(ann, office, "fraud", "f1", "f2", "f5")
    judge(ann, office, "legit", "f3", "f4", "f7")
    judge(bob, office, "unknown", "f6", DRAWN[8])
    judge(bob, office, "fraud", *DRAWN[:2])
    judge(bob, office, "legit", *DRAWN[2:8])
    judge(lea, office, "fraud", "f4")  # a reversal of Ann's; two that were drawn stay open

    office.pass_time(minutes=1)
    page = lea.get("/figures").text
    # Of 11 drawn 8 are fraud or legit, 2 of them fraud: 25%, Wilson 7.1% to 59%.
    assert interval(2, 8) == "7.1%–59%"
    assert re.search(r"Fraud among what is approved</dt><dd>25% <small>95% of the time within 7\.1%–59%<", page)
    assert re.search(r"Drawn</dt><dd>11 <small>8 decided, 2 fraud<", page)
    # The batch model led f1 to f4, of which f1, f2 and f4 are fraud; nothing that was drawn is anybody's flag.
    assert rows_of(page, "model") == [
        ("batch 7", "4", "3", "75%", interval(3, 4)),
        ("online 7", "1", "1", "100%", interval(1, 1)),
        ("rules", "1", "0", "0%", interval(0, 1)),
    ]
    # `night` fired in f1, f2, f4 and f5, all fraud; `abroad` in f2 and f7.
    assert rows_of(page, "rule") == [
        ("night", "4", "4", "100%", interval(4, 4)),
        ("abroad", "2", "1", "50%", interval(1, 2)),
    ]
    # Bob has the sample; Ann five, since Lea reversed one of hers.
    assert rows_of(page, "analyst") == [
        ("bob", "8", "2", "25%", interval(2, 8), "0"),
        ("ann", "5", "3", "60%", interval(3, 5), "1"),
        ("lea", "1", "1", "100%", interval(1, 1), "0"),
    ]
    tiles = re.findall(r"<dt>(Decided|Fraud)</dt><dd>(\S+) <small>([^<]*)", page)
    assert tiles == [("Decided", "16", "cases in 30 days"), ("Fraud", "38%", "6 of them")]
    assert "What the models miss" not in ann.get("/figures").text and "By analyst" not in ann.page_text()


def case_of(office: Office, event_id: str) -> str:
    return next(case.case_id for case in office.cases.queue(100, now=office.now) if case.event_id == event_id)
