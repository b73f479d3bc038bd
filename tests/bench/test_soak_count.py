"""The soak's books can fail: a log that lost, doubled or changed something is found out, and a good one is not."""

from __future__ import annotations

import pytest

from bench.run import status
from bench.soak_call import Answered, Said
from bench.soak_count import Books, Logged, Verdict, compare
from bench.soak_end import books_figures
from bench.soak_figures import Felt, load_figures, recovery_s
from bench.soak_memory import Sample, is_flat, memory_figures

AWAY = ["online store", "not recorded yet"]


def said(event_id: str, score: float = 0.5, degraded: list[str] | None = None, **more: dict[str, int]) -> Said:
    answer = Answered(200, "approve", score, degraded or [])
    return Said("score", [event_id], 1.0, 4.0, 200, [answer], **more)


def accepted(identity: str, kind: str = "event") -> Said:
    return Said("label" if kind == "label" else "event", [identity], 1.0, 4.0, 202, [Answered(202)])


def logged() -> Logged:
    found = Logged()
    for event_id in ("e1", "e2"):
        found.events[event_id] = 1
        found.decisions[event_id] = [Verdict("approve", 0.5)]
    found.events["unscored"] = 1
    found.labels["e1|fraud"] = 1
    return found


JOURNAL = [said("e1"), said("e2"), said("e1"), accepted("unscored"), accepted("e1|fraud", "label")]


def count(found: Logged, journal: list[Said] | None = None) -> Books:
    return compare(JOURNAL if journal is None else journal, found)


def test_a_log_that_holds_what_was_answered_is_clean() -> None:
    books = count(logged())
    assert books.clean
    assert (books.answered, books.accepted) == (2, 2)
    assert status("soak", books_figures(books)) == 0


@pytest.mark.parametrize("gone", ["e2", "unscored"])
def test_an_event_that_the_log_lost_is_found(gone: str) -> None:
    found = logged()
    del found.events[gone]
    assert count(found).lost == [f"event {gone}"]


def test_a_decision_or_a_label_that_the_log_lost_is_found() -> None:
    found = logged()
    del found.decisions["e1"]
    del found.labels["e1|fraud"]
    books = count(found)
    assert sorted(books.lost) == ["decision of e1", "label e1|fraud"]
    assert status("soak", books_figures(books)) == 1


def test_what_is_there_twice_is_found() -> None:
    found = logged()
    found.events["e1"] = 2
    found.labels["e1|fraud"] = 2
    found.decisions["e2"] *= 2
    assert len(count(found).doubled) == 3


def test_a_score_that_changed_is_found() -> None:
    found = logged()
    found.decisions["e2"] = [Verdict("approve", 0.5000001)]
    assert len(count(found).differing) == 1
    found.decisions["e2"] = [Verdict("decline", 0.5)]
    assert len(count(found).differing) == 1


def test_what_no_client_sent_is_found() -> None:
    found = logged()
    found.events["from nowhere"] = 1
    assert count(found).strangers == ["event from nowhere"]


def test_an_answer_without_a_record_yet_must_be_recorded_as_it_was() -> None:
    found = logged()
    assert count(found, [*JOURNAL, said("e2", 0.5, AWAY)]).clean
    found.events["e3"], found.decisions["e3"] = 1, [Verdict("approve", 0.4)]
    assert len(count(found, [*JOURNAL, said("e3", 0.9, AWAY)]).differing) == 1


@pytest.mark.parametrize(
    "second", [[said("e3", 0.9, AWAY), said("e3", 0.4)], [said("e3", 0.9, AWAY, refusals={"timeout": 1})]]
)
def test_only_an_answer_that_said_so_may_be_superseded_by_an_earlier_decision(second: list[Said]) -> None:
    found = logged()
    found.events["e3"], found.decisions["e3"] = 1, [Verdict("approve", 0.4)]
    books = count(found, [*JOURNAL, *second])
    assert books.clean
    assert len(books.superseded) == 1
    assert not count(found, [*JOURNAL, said("e3", 0.9, refusals={"timeout": 1})]).clean


def test_what_a_client_gave_up_may_be_in_the_log_or_not() -> None:
    gave_up = Said("score", ["e3"], 1.0, 4.0, 0, [])
    found = logged()
    assert count(found, [*JOURNAL, gave_up]).clean
    found.events["e3"], found.decisions["e3"] = 1, [Verdict("approve", 0.4)]
    assert count(found, [*JOURNAL, gave_up]).clean


def life(growing_mb_s: float, seconds: float = 600) -> list[Sample]:
    return [Sample(float(at), 100 + growing_mb_s * at) for at in range(0, round(seconds), 5)]


def test_a_process_that_grows_is_not_flat() -> None:
    assert is_flat(memory_figures({"worker": life(0.0), "redis": life(1.0)}))
    assert not is_flat(memory_figures({"worker": life(0.1)}))
    assert memory_figures({"worker": life(1.0, seconds=60)})["memory, worker, slope"].meets_budget is None


def test_recovery_counts_from_the_end_of_a_fault_to_the_first_good_window() -> None:
    slow = [Said("score", ["e"], 10.0 + n, 900.0, 200, [Answered(200)]) for n in range(10)]
    good = [Said("score", ["e"], 20.0 + n, 5.0, 200, [Answered(200)]) for n in range(20)]
    felt = Felt("flood", 8.0, 10.0, "")
    assert recovery_s(felt, slow + good, 50.0, 100.0) == 10.0
    assert recovery_s(felt, slow, 50.0, 100.0) is None


def test_a_fault_that_was_not_answered_as_promised_is_a_failure() -> None:
    wrong = Felt("corrupt champion", 1.0, 2.0, "it was taken", failed=True)
    assert status("soak", load_figures(JOURNAL, [wrong], 50.0)) == 1
    assert status("soak", load_figures(JOURNAL, [], 50.0)) == 0
