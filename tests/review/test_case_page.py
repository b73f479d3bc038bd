"""One case as a page, without scripts: what is shown, and what an analyst does to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from review.case import Case
from review.person import Role
from review.review_policy import ReviewPolicy
from stream.records import Decision
from tests.review.flagged import flagged
from tests.review.office import NOON, Desk, Office


class Part(NamedTuple):
    feature: str
    text: str
    value: float | None
    usual: float | None
    contribution: float


class Shared(NamedTuple):
    model: str
    version: str
    unit: str
    base: float
    margin: float
    contributions: list[Part]


class Explains:
    """Shares of a score that are known beforehand."""

    def explain(self, decision: Decision) -> Shared:
        if decision.record.amount < 0:
            raise LookupError("no model scored it")
        parts = [Part("amount", "the amount says it", 9.0, 1.0, 1.5), Part("hour", "the hour says no", 3.0, 1.0, -0.25)]
        return Shared("fraud", "v7", "log-odds", -2.0, -0.75, parts)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    policy = ReviewPolicy(four_eyes_above=100_000.0)
    with closing(Office(tmp_path / "review.sqlite", policy=policy, explain=Explains())) as opened:
        opened.cases.take_in(flagged(24, NOON, cards=8), {})
        yield opened


def ids(office: Office) -> list[str]:
    return [case.case_id for case in office.cases.queue(50, now=NOON)]


def at_case(office: Office, case_id: str, name: str = "ann", role: Role = "analyst") -> Desk:
    desk = office.desk(name, role)
    assert desk.get(f"/review/cases/{case_id}").status_code == 200
    return desk


def test_a_case_says_why_with_what_is_usual_and_shows_what_the_card_did(office: Office) -> None:
    case = office.cases.queue(1, now=NOON)[0]
    text = at_case(office, case.case_id).page_text()
    for reason in case.reasons:
        assert reason.text in text
    assert text.count('<svg class="bar"') == sum(None not in (one.value, one.usual) for one in case.reasons)
    assert len(re.findall(r'<circle class="k-\w+ own"', text)) == len(case.events)
    assert all(decision.record.merchant_id in text for decision in office.cases.decisions(case.case_id))


def test_what_takes_longer_is_a_page_of_its_own_and_a_part_for_scripts(office: Office) -> None:
    case_id = ids(office)[0]
    desk = office.desk("ann")
    for name, says in (("linked", "two steps away"), ("nearest", "No decided case"), ("exact", "the amount says it")):
        whole = desk.get(f"/review/cases/{case_id}/{name}")
        part = desk.get(f"/review/cases/{case_id}/{name}", **{"hx-request": "true"})
        assert whole.status_code == part.status_code == 200
        assert says in whole.text
        assert says in part.text
        assert ("<html" in whole.text, "<html" in part.text) == (True, False)


def test_exact_shares_add_up_on_the_page(office: Office) -> None:
    text = office.desk("ann").get(f"/review/cases/{ids(office)[0]}/exact").text
    assert "from -2.00" in text
    assert "+1.500" in text
    assert "-0.250" in text


def test_a_case_that_is_not_there_is_a_404_that_says_so(office: Office) -> None:
    desk = office.desk("ann")
    for path in ("", "/nearest", "/linked", "/exact"):
        page = desk.get(f"/review/cases/0123456789abcdef{path}")
        assert "0123456789abcdef" in page.text
        assert page.status_code == (200 if path == "/exact" else 404)


def test_a_verdict_goes_on_to_the_next_case_and_claims_it(office: Office) -> None:
    first, second, *_ = ids(office)
    page = at_case(office, first).send(f"/review/cases/{first}/decide", verdict="fraud")
    assert page.url.path == f"/review/cases/{second}"
    assert office.cases.case(first).verdict == "fraud"
    assert office.cases.case(second).holder(NOON) == "ann"
    assert ": fraud" in page.text


def test_what_was_passed_over_is_not_what_comes_next(office: Office) -> None:
    _, second, third, *_ = ids(office)
    page = at_case(office, second).send(f"/review/cases/{second}/decide", verdict="legit")
    assert page.url.path == f"/review/cases/{third}"


def test_the_next_case_is_one_that_nobody_holds(office: Office) -> None:
    first, second, third, *_ = ids(office)
    office.cases.claim(second, "bob", NOON)
    page = at_case(office, first).send(f"/review/cases/{first}/decide", verdict="fraud")
    assert page.url.path == f"/review/cases/{third}"


def test_the_next_case_is_not_one_that_is_for_somebody_else(office: Office) -> None:
    first, second, third, *_ = ids(office)
    office.cases.assign(second, "bob", "leo", NOON)
    page = at_case(office, first).send(f"/review/cases/{first}/decide", verdict="fraud")
    assert page.url.path == f"/review/cases/{third}"


def test_a_verdict_stands_where_the_next_case_was_decided_meanwhile(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, *_ = ids(office)
    desk, read = at_case(office, first), office.cases.queue

    def overtaken(*args: Any, **options: Any) -> list[Case]:
        monkeypatch.undo()
        found = read(*args, **options)
        office.cases.decide(second, "legit", "bob", NOON)
        return found

    monkeypatch.setattr(office.cases, "queue", overtaken)
    page = desk.send(f"/review/cases/{first}/decide", verdict="fraud")
    assert (page.url.path, office.cases.case(first).verdict) == (f"/review/cases/{third}", "fraud")
    assert page.url.params["done"] == first, "it can be taken back"


def test_the_next_case_is_of_the_same_view(office: Office) -> None:
    declined = [case.case_id for case in office.cases.queue(50, now=NOON) if case.outcome == "decline"]
    assert 1 < len(declined) < len(ids(office))
    desk = office.desk("ann")
    desk.get(f"/review/cases/{declined[0]}?outcome=decline")
    page = desk.send(f"/review/cases/{declined[0]}/decide", verdict="fraud")
    assert (page.url.path, page.url.params["outcome"]) == (f"/review/cases/{declined[1]}", "decline")


def test_the_last_verdict_leads_to_an_empty_queue(office: Office) -> None:
    *others, last = ids(office)
    office.cases.decide_many(others, "legit", "bob", NOON)
    page = at_case(office, last).send(f"/review/cases/{last}/decide", verdict="legit")
    assert page.url.path == "/review"
    assert "Nothing waits" in page.text


def test_undo_brings_the_case_back_as_it_was_and_no_label_leaves(office: Office) -> None:
    first = ids(office)[0]
    desk = at_case(office, first)
    desk.send(f"/review/cases/{first}/decide", verdict="fraud")
    page = desk.send("/review/undo")
    assert page.url.path == f"/review/cases/{first}"
    assert office.cases.case(first).status == "open"
    office.pass_time(hours=1)
    assert office.cases.unsent(100, office.now) == []


def test_after_the_time_to_undo_it_is_not_offered_and_comes_too_late(office: Office) -> None:
    first = ids(office)[0]
    desk = at_case(office, first)
    desk.send(f"/review/cases/{first}/decide", verdict="fraud")
    assert desk.has_form("/review/undo")
    office.pass_time(seconds=21)
    page = desk.send("/review/undo", 409)
    assert "Not taken back" in page.text
    assert office.cases.case(first).verdict == "fraud"
    assert not office.desk("ann").get(f"/review?done={first}").text.count('id="undo"')


def test_nobody_is_offered_to_undo_what_another_decided(office: Office) -> None:
    first = ids(office)[0]
    office.cases.decide(first, "fraud", "bob", NOON, 20.0)
    assert 'id="undo"' not in office.desk("ann").get(f"/review?done={first}").text


def test_a_claimed_case_is_its_holders_until_they_release_it(office: Office) -> None:
    first = ids(office)[0]
    ann, bob = at_case(office, first), at_case(office, first, "bob")
    ann.send(f"/review/cases/{first}/claim")
    refused = bob.send(f"/review/cases/{first}/decide", 409, verdict="legit")
    assert "ann is working on" in refused.text
    assert "disabled" in refused.text
    ann.send(f"/review/cases/{first}/release")
    bob.get(f"/review/cases/{first}")
    bob.send(f"/review/cases/{first}/decide", verdict="legit")
    assert office.cases.case(first).decided_by == "bob"


def test_a_lead_takes_a_case_over_and_nobody_else_does(office: Office) -> None:
    first = ids(office)[0]
    ann, bob, lea = at_case(office, first), at_case(office, first, "bob"), at_case(office, first, "lea", "lead")
    ann.send(f"/review/cases/{first}/claim")
    assert 'id="take-over"' not in bob.get(f"/review/cases/{first}").text
    token = re.search(r'name="csrf" value="([^"]*)"', bob.get(f"/review/cases/{first}").text)
    refused = bob.client.post(f"/review/cases/{first}/take-over", data={"csrf": token[1] if token else ""})
    assert (refused.status_code, "role of a lead" in refused.text) == (403, True)
    assert office.cases.case(first).holder(office.now) == "ann"
    assert 'id="take-over"' in lea.get(f"/review/cases/{first}").text
    lea.send(f"/review/cases/{first}/take-over")
    assert "lea is working on" in ann.send(f"/review/cases/{first}/decide", 409, verdict="legit").text
    page = lea.get(f"/review/cases/{first}").text
    assert "took it over from ann" in page
    assert 'id="take-over"' not in page
    lea.send(f"/review/cases/{first}/decide", verdict="fraud")
    assert office.cases.case(first).decided_by == "lea"


def test_a_claim_that_is_touched_goes_on_and_an_idle_one_is_over(office: Office) -> None:
    first = ids(office)[0]
    desk = at_case(office, first)
    desk.send(f"/review/cases/{first}/claim")
    office.pass_time(minutes=8)
    desk.send(f"/review/cases/{first}/touch", 204)
    office.pass_time(minutes=8)
    assert office.cases.case(first).holder(office.now) == "ann"
    office.pass_time(minutes=8)
    assert office.cases.case(first).holder(office.now) is None


def test_above_the_policys_amount_two_people_decide(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "four.sqlite", policy=ReviewPolicy(four_eyes_above=0.0))) as office:
        office.cases.take_in(flagged(1, NOON, cards=1), {})
        (only,) = ids(office)
        ann = at_case(office, only)
        ann.send(f"/review/cases/{only}/decide", verdict="fraud")
        page = ann.get(f"/review/cases/{only}")
        assert "somebody else has to say the same" in page.text
        assert "disabled" in page.text
        bob = at_case(office, only, "bob")
        assert "ann proposes" in bob.page_text()
        bob.send(f"/review/cases/{only}/decide", verdict="fraud")
        assert (office.cases.case(only).status, office.cases.case(only).verdict) == ("decided", "fraud")


def test_a_decided_case_says_where_its_labels_are_and_can_be_reopened_or_reversed(office: Office) -> None:
    first = ids(office)[0]
    office.cases.decide(first, "fraud", "bob", NOON)
    desk = at_case(office, first)
    assert "on the way to the models" in desk.page_text()
    office.cases.mark_sent(office.cases.unsent(100, NOON))
    assert "arrived on the topic" in desk.get(f"/review/cases/{first}").text
    page = desk.send(f"/review/cases/{first}/decide", verdict="legit")
    assert page.url.path == f"/review/cases/{first}"
    assert office.cases.case(first).verdict == "legit"
    assert "Reopened" in desk.send(f"/review/cases/{first}/reopen").text


def test_notes_evidence_snooze_and_assignment_are_kept_and_said(office: Office) -> None:
    first = ids(office)[0]
    office.session("bob")
    desk = at_case(office, first)
    desk.send(f"/review/cases/{first}/note", text="called the bank\nno answer")
    desk.send(f"/review/cases/{first}/evidence", url="https://tickets.example.org/7", title="ticket 7")
    page = desk.send(f"/review/cases/{first}/assign", to="bob")
    for text in (
        "called the bank\nno answer",
        'href="https://tickets.example.org/7"',
        "ticket 7",
        "→ bob",
        "assigned to bob",
    ):
        assert text in page.text
    desk.send(f"/review/cases/{first}/snooze", hours="4")
    assert first not in ids(office)
    assert "snoozed" in desk.get(f"/review/cases/{first}").text
    desk.send(f"/review/cases/{first}/wake")
    assert first in ids(office)


def test_a_snooze_and_an_escalation_are_said_and_taken_back(office: Office) -> None:
    first = ids(office)[0]
    office.session("lea", "lead")
    desk = at_case(office, first)
    page = desk.send(f"/review/cases/{first}/snooze", hours="4")
    assert "snoozed, back in 4 h" in page.text
    assert office.cases.case(first).is_snoozed(office.now)
    page = desk.send(f"/review/cases/{first}/wake")
    assert (page.url.path, office.cases.case(first).is_snoozed(office.now)) == (f"/review/cases/{first}", False)
    page = desk.send(f"/review/cases/{first}/escalate")
    assert "given to lea" in page.text
    desk.send(f"/review/cases/{first}/assign")
    assert office.cases.case(first).assigned_to is None
    desk.send(f"/review/cases/{first}/snooze", hours="4")
    office.pass_time(minutes=1)
    again = desk.get(f"/review?done={first}")
    assert "snoozed, back" not in again.text, "what is long done is said no more"


def test_a_case_is_escalated_to_a_lead_and_not_to_oneself(office: Office) -> None:
    first, second, *_ = ids(office)
    assert "Nobody else is a lead" in at_case(office, first).send(f"/review/cases/{first}/escalate", 422).text
    office.session("lea", "lead")
    office.pass_time(minutes=1)
    page = at_case(office, first).send(f"/review/cases/{first}/escalate")
    assert office.cases.case(first).assigned_to == "lea"
    assert page.url.path == f"/review/cases/{second}"


@pytest.mark.parametrize(
    ("deed", "fields", "says"),
    [
        ("decide", {"verdict": "guilty"}, "is no verdict"),
        ("snooze", {"hours": "0"}, "snoozed for 1 to"),
        ("snooze", {"hours": "99999"}, "snoozed for 1 to"),
        ("snooze", {"hours": "01009999"}, "snoozed for 1 to"),
        ("snooze", {"hours": "1" + "0" * 40}, "snoozed for 1 to"),
        ("snooze", {"hours": "٣"}, "snoozed for 1 to"),
        ("assign", {"to": "mallory"}, "cannot be given a case"),
        ("note", {"text": "   "}, "nothing in the field"),
        ("evidence", {"url": "javascript:alert(1)", "title": "x"}, "http"),
        ("evidence", {"url": "", "title": "x"}, "nothing in the field"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    office: Office, deed: str, fields: dict[str, str], says: str
) -> None:
    first = ids(office)[0]
    before = office.cases.case(first), office.cases.audit(first)
    status = 409 if "javascript" in fields.get("url", "") else 422
    page = at_case(office, first).send(f"/review/cases/{first}/{deed}", status, **fields)
    assert says in page.text
    assert 'role="alert"' in page.text
    assert (office.cases.case(first), office.cases.audit(first)) == before


def test_a_deed_that_there_is_not_is_a_404(office: Office) -> None:
    first = ids(office)[0]
    desk = at_case(office, first)
    csrf = re.search(r'name="csrf" value="([^"]+)"', desk.page_text())
    assert csrf
    answer = desk.client.post(f"/review/cases/{first}/burn", data={"csrf": csrf[1]})
    assert answer.status_code == 404
