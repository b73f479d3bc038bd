"""The page of alerts: what it shows, who may do what, and the mark on every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from review.alert_book import AlertBook
from review.alert_silence import Silences
from review.alert_watch import AlertWatch
from review.web.app import make_app
from tests.review.alert_numbers import Numbers, alerts, condition
from tests.review.office import NOON, Office

HOSTILE = "<script>alert('x')</script>\" onload=\"y"
DRIFT = condition("drift", title=f"Drift {HOSTILE}", series="drift_alarms", above=0.0, remedy=f"run `a {HOSTILE}`")
LAG = condition("lag")
DEAD = condition("dead", series="dead_letters_per_s", above=0.0)


class AlertOffice(Office):
    """The pages with a watch over numbers that a test writes."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.numbers = Numbers()
        self.watch = AlertWatch(alerts(DRIFT, LAG, DEAD), self.numbers, AlertBook(self.cases.database))
        self.watch.is_watching = True
        self.parts = replace(self.parts, alerts=self.watch)
        self.app = make_app(self.parts)

    def look(self, **values: float) -> None:
        """Let half a minute go by and see these values."""
        self.pass_time(seconds=30)
        for name, value in values.items():
            self.numbers.add(name, self.now.timestamp(), value)
        self.watch.look(self.now)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[AlertOffice]:
    with closing(AlertOffice(tmp_path / "review.sqlite")) as one:
        yield one


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_it_shows_what_fires_what_will_and_what_nothing_is_heard_of(office: AlertOffice) -> None:
    desk = office.desk("vic", "viewer")
    assert "Nothing fires" in desk.get("/alerts").text and 'class="alert-pill"' in desk.page_text()
    office.look(drift_alarms=2.0, lag_s=12.0)
    page = desk.get("/alerts").text
    assert "alarms of drift: 2" in text_of(page).lower() and "Pending" in page
    assert "There is no word of 1 condition: dead" in text_of(page)
    assert "1 firing" in text_of(desk.get("/review").text), "the mark is on every page"
    assert text_of(desk.get("/alerts/pill").text) == "1 firing" and "<html" not in desk.page_text()


def test_hostile_words_run_nowhere(office: AlertOffice) -> None:
    office.look(drift_alarms=2.0)
    Silences(office.cases.database).make("drift", office.now + timedelta(hours=2), HOSTILE, "ann", office.now)
    page = office.desk("lea", "lead").get("/alerts").text
    assert "<script>alert" not in page and 'onload="y' not in page
    assert page.count("&lt;script&gt;alert") >= 4
    assert "<code>a &lt;script&gt;" in page


def test_a_lead_acknowledges_and_the_page_says_so(office: AlertOffice) -> None:
    office.look(drift_alarms=2.0)
    desk = office.desk("lea", "lead")
    desk.get("/alerts")
    page = desk.send("/alerts/acknowledge").text
    assert "lea knows of it" in text_of(page) and not desk.has_form("/alerts/acknowledge")
    assert "acknowledged" in text_of(page)


def test_a_lead_silences_one_and_ends_it(office: AlertOffice) -> None:
    office.look(drift_alarms=2.0)
    desk = office.desk("lea", "lead")
    desk.get("/alerts")
    page = desk.send("/alerts/silence", hours="4", why="a move").text
    assert "Silenced by lea : a move" in text_of(page)
    office.look(drift_alarms=2.0)
    assert "firing" not in desk.get("/alerts/pill").text
    desk.get("/alerts")
    assert "The silence is over" in desk.send("/alerts/unsilence").text


IMPOSSIBLE = (
    ("silence", {"name": "drift", "hours": "4", "why": " "}, "needs a reason"),
    ("silence", {"name": "drift", "hours": "0", "why": "x"}, "ends within 30 days"),
    ("silence", {"name": "drift", "hours": "9999", "why": "x"}, "is no hours"),
    ("silence", {"name": "nothing", "hours": "4", "why": "x"}, "there is no alert"),
    ("acknowledge", {"name": "lag", "fired_at_us": "1"}, "does not fire"),
    ("acknowledge", {"name": "drift", "fired_at_us": "-1"}, "is no fired at us"),
    ("unsilence", {"number": "77"}, "that silence is over"),
)


def test_what_cannot_be_done_is_said_and_nothing_is_changed(office: AlertOffice) -> None:
    desk = office.desk("lea", "lead")
    csrf = re.search(r'name="csrf" value="(\w+)"', desk.get("/alerts").text)
    assert csrf
    for deed, fields, told in IMPOSSIBLE:
        answer = desk.client.post(f"/alerts/{deed}", data={"csrf": csrf[1]} | fields)
        assert answer.status_code == 422 and told in text_of(answer.text).lower()
    assert Silences(office.cases.database).all(NOON) == []


def test_an_analyst_looks_and_does_nothing(office: AlertOffice) -> None:
    office.look(drift_alarms=2.0)
    desk = office.desk("ann")
    page = desk.get("/alerts").text
    assert "/alerts/silence" not in page and "/alerts/acknowledge" not in page
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    answer = desk.client.post("/alerts/silence", data={"csrf": csrf[1], "name": "*", "hours": "4", "why": "x"})
    assert answer.status_code == 403 and "lead" in answer.text
    assert Silences(office.cases.database).all(office.now) == []


def test_nobody_sees_anything_before_signing_in(office: AlertOffice) -> None:
    desk = office.desk("vic", "viewer")
    desk.client.cookies.clear()
    assert "Sign in" in desk.get("/alerts").text


def test_with_no_numbers_the_page_says_what_to_set(office: AlertOffice) -> None:
    office.watch.is_watching = False
    assert "HEADRACE_REVIEW_SERVICE" in office.desk("vic", "viewer").get("/alerts").text


def test_pages_without_a_watch_have_a_page_of_alerts_that_says_so(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        desk = office.desk("vic", "viewer")
        assert "Nothing is watched here" in desk.get("/alerts").text
        assert desk.get("/alerts/pill").status_code == 200
