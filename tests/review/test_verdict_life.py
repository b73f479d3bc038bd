"""The life of a verdict: from the hand to the learner, as the page tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from headrace.learned_verdicts import LearnerLessons
from review.case_store import EVENTS_LIMIT
from review.review_policy import ReviewPolicy
from review.series import Series
from review.series_history import SeriesHistory
from review.web.app import make_app
from stream.records import Label, Verdict, micros
from tests.review.flagged import flagged
from tests.review.office import NOON, Desk, Office
from training.learner_store import FILE, LearnerStore

NOON_S = NOON.timestamp()


class Learner:
    """A learner's file, and the series of what it publishes."""

    def __init__(self, home: Path) -> None:
        self.store = LearnerStore(home / FILE)
        self.lessons = LearnerLessons(home)
        self.series = Series()

    def knows(self, event_id: str) -> None:
        with self.store.transaction():
            self.store.add_decision(event_id, 1, micros(NOON), "h", np.zeros(2), {"online": 0.5})

    def learns(self, event_ids: Sequence[str], verdict: Verdict, at: datetime) -> None:
        with self.store.transaction():
            for event_id in event_ids:
                self.store.set_verdict(event_id, verdict, micros(at))

    def publishes(self, at_s: float, log_loss: float) -> None:
        self.series.append(at_s, {"log_loss.live": log_loss})


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[Learner]:
    made = Learner(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def office(tmp_path: Path, learner: Learner) -> Iterator[Office]:
    with closing(Office(tmp_path / "review.sqlite", policy=ReviewPolicy(undo_s=20.0))) as opened:
        history = SeriesHistory(learner.series)
        opened.parts = replace(opened.parts, lessons=learner.lessons, series=history)
        opened.app = make_app(opened.parts)
        opened.cases.take_in(flagged(2, NOON, cards=1), {})
        yield opened


def steps(desk: Desk, case_id: str) -> str:
    """The names of the steps that are past."""
    text = desk.get(f"/review/cases/{case_id}/life").text
    return " ".join(part.split("<")[0] for part in text.split('<li class="past">')[1:])


def test_a_verdict_is_sent_reaches_the_topic_and_is_learned(office: Office, learner: Learner) -> None:
    (case,) = office.cases.queue(5, now=NOON)
    desk = office.desk("ann")
    desk.get(f"/review/cases/{case.case_id}")
    assert 'id="life"' not in desk.page_text()
    learner.publishes(NOON_S - 5.0, 0.0421)
    for event_id in case.events:
        learner.knows(event_id)
    desk.send(f"/review/cases/{case.case_id}/decide", verdict="fraud")
    assert steps(desk, case.case_id) == "Given"
    assert "every 4s" in desk.page_text() and "x-by-itself" in desk.page_text()
    office.pass_time(seconds=21)
    assert steps(desk, case.case_id) == "Given Sent"
    office.cases.mark_sent(office.cases.unsent(10, office.now))
    learner.publishes(NOON_S + 22.0, 0.0425)
    assert steps(desk, case.case_id) == "Given Sent On the topic"
    assert "0 of 2" in desk.page_text() and "log loss" not in desk.page_text()
    learner.learns(case.events[:1], "fraud", NOON)
    assert "1 of 2" in desk.get(f"/review/cases/{case.case_id}/life").text
    learner.learns(case.events, "fraud", NOON)
    learner.publishes(NOON_S + 30.0, 0.0409)
    assert steps(desk, case.case_id) == "Given Sent On the topic Learned"
    assert "moved from 0.0421 to 0.0409" in desk.page_text()
    assert "every 4s" not in desk.page_text()
    assert "moved from 0.0421 to 0.0409" in desk.get(f"/review/cases/{case.case_id}").text


def test_an_older_or_another_verdict_is_not_taken_for_this_one(learner: Learner, tmp_path: Path) -> None:
    learner.knows("e1")
    learner.learns(["e1"], "fraud", NOON)
    assert learner.lessons.learned(["e1", "e2"], "fraud", NOON) == 1
    assert learner.lessons.learned(["e1"], "fraud", NOON + timedelta(seconds=1)) == 0
    assert learner.lessons.learned(["e1"], "legit", NOON) == 0
    assert LearnerLessons(tmp_path / "elsewhere").learned(["e1"], "fraud", NOON) is None


def test_a_verdict_on_as_many_events_as_a_case_has_is_learned_whole(learner: Learner) -> None:
    events = [f"e{number}" for number in range(EVENTS_LIMIT)]
    with learner.store.transaction():
        for event_id in events:
            learner.store.add_decision(event_id, 1, micros(NOON), "h", np.zeros(2), {"online": 0.5})
            learner.store.set_verdict(event_id, "fraud", micros(NOON))
    assert learner.lessons.learned(events, "fraud", NOON) == EVENTS_LIMIT


def test_without_the_learners_file_a_page_says_no_more_than_that_it_arrived(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "alone.sqlite")) as office:
        office.cases.take_in(flagged(1, NOON, cards=1), {})
        (case,) = office.cases.queue(5, now=NOON)
        office.cases.decide(case.case_id, "unknown", "ann", NOON)
        labels: list[Label] = office.cases.unsent(10, NOON)
        office.cases.mark_sent(labels)
        desk = office.desk("ann")
        assert steps(desk, case.case_id) == "Given Sent On the topic"
        assert "Nothing is learned" in desk.page_text() and "Learned" not in desk.page_text()
