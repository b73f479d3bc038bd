"""Figures of verdicts: counted by hand, and shown to those they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from review.case_store import CaseStore
from review.review_policy import ReviewPolicy
from review.verdict_figures import Day, Waiting, days_before, times_to_verdict, verdicts_a_day, waiting
from review.web.figures_page import chart_of
from stream.records import Verdict
from tests.review.flagged import HOSTILE, flagged
from tests.review.office import NOON, Office

HOUR = timedelta(hours=1)


@pytest.fixture
def worked(store: CaseStore) -> CaseStore:
    """Six cases of now: two decided yesterday, one today and late, three wait."""
    store.take_in(flagged(6, NOON, cards=6, over=timedelta(minutes=1)), {})
    ids = [case.case_id for case in store.queue(6, now=NOON)]
    verdicts: list[tuple[Verdict, timedelta]] = [("fraud", HOUR), ("legit", 2 * HOUR), ("unknown", 30 * HOUR)]
    for case_id, (verdict, later) in zip(ids, verdicts, strict=False):
        store.decide(case_id, verdict, "ann", NOON + later)
    return store


def test_verdicts_are_counted_by_the_day_and_days_without_any_are_there(worked: CaseStore) -> None:
    found = verdicts_a_day(worked.database, days_before(NOON + 48 * HOUR, 4), NOON + 48 * HOUR)
    assert found == [
        Day(day=date(2026, 3, 1)),
        Day(day=date(2026, 3, 2), fraud=1, legit=1),
        Day(day=date(2026, 3, 3), unknown=1),
        Day(day=date(2026, 3, 4)),
    ]
    assert chart_of(found) is not None
    assert chart_of(found[:1]) is None


def test_time_to_a_verdict_is_held_against_when_it_was_due(worked: CaseStore) -> None:
    found = times_to_verdict(worked.database, NOON - HOUR)
    assert sum(one.decided for one in found) == 3
    assert sum(one.in_time for one in found) == 2
    assert max(one.slow_s for one in found) == pytest.approx(30 * 3600, rel=0.01)
    assert times_to_verdict(worked.database, NOON + 40 * HOUR) == []
    assert waiting(worked.database, NOON) == Waiting(cases=3, overdue=0)
    assert waiting(worked.database, NOON + 48 * HOUR) == Waiting(cases=3, overdue=3)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    policy = ReviewPolicy(audit_share=0.0)
    with closing(Office(tmp_path_factory.mktemp("figures") / "review.sqlite", policy=policy)) as opened:
        opened.cases.take_in(flagged(12, NOON, cards=12), {})
        for number, case in enumerate(opened.cases.queue(9, now=NOON)):
            opened.cases.decide(case.case_id, "legit" if number % 3 else "fraud", HOSTILE[:40], NOON)
        yield opened


def test_everybody_sees_models_and_rules_and_leads_see_analysts_and_what_was_missed(office: Office) -> None:
    viewer, lead = office.desk("vic", "viewer"), office.desk("lea", "lead")
    page = viewer.get("/figures?days=7").text
    assert "Precision by model" in page and '<td class="n"><strong>33%</strong></td>' in page
    assert "By analyst" not in page and "What the models miss" not in page and HOSTILE[:20] not in page
    page = lead.get("/figures").text
    assert "By analyst" in page and "Nothing was drawn" in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_a_rule_that_is_called_like_a_page_is_found_from_its_figures(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        (flag,) = flagged(1, NOON, cards=1)
        office.cases.take_in([replace(flag, rules=["new"])], {})
        (case,) = office.cases.queue(1, now=NOON)
        office.cases.decide(case.case_id, "fraud", "ann", NOON)
        assert 'href="/rules/=new"' in office.desk("vic", "viewer").get("/figures").text


def test_with_nothing_decided_the_page_says_what_to_do(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as empty:
        page = empty.desk("lea", "lead").get("/figures").text
    assert "No verdict in 30 days" in page and "No case that a model led" in page
