from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scoring.use_case import FRAUD
from stream.records import from_micros, micros
from tests.training.conftest import START
from tests.training.served import DELAY, archive_of, archive_until_the_end, decisions
from training.archived_frame import NoDecisions, archived_frame
from training.metrics import DAY_US

FEATURES = FRAUD.features
DAY = timedelta(days=1)


def test_rows_are_as_they_were_served_and_only_those_whose_label_is_final(tmp_path: Path) -> None:
    both = decisions()
    found = archived_frame(FEATURES, archive_until_the_end(tmp_path), label_delay=DELAY)
    end_us = max(micros(decision.event_timestamp) for decision, _ in both)
    mature = [(d, label) for d, label in both if micros(d.event_timestamp) <= end_us - 7 * DAY_US]
    assert 0 < len(mature) < len(both)
    assert found.records is not None
    assert found.records.tolist() == [decision.record for decision, _ in mature]
    assert found.y.tolist() == [int(label.label == "fraud") for _, label in mature]
    served = np.array([decision.vector for decision, _ in mature], dtype=float)
    assert np.array_equal(found.X, served, equal_nan=True)
    assert found.definition_hash == FEATURES.definition_hash


def test_frauds_that_are_known_early_do_not_make_young_days_look_bad(tmp_path: Path) -> None:
    both = decisions()
    at_once = [
        msgspec.structs.replace(label, labelled_at=d.event_timestamp) for d, label in both if label.label == "fraud"
    ]
    slow = [label for _, label in both if label.label == "legit"]
    end = max(decision.event_timestamp for decision, _ in both)
    known = [label for label in (*at_once, *slow) if label.labelled_at <= end]
    found = archived_frame(
        FEATURES, archive_of(tmp_path, [*(decision for decision, _ in both), *known]), label_delay=DELAY
    )
    assert from_micros(int(found.event_time_us.max())) <= end - DELAY
    assert np.mean(found.y) == pytest.approx(np.mean([label.label == "fraud" for _, label in both]), abs=0.02)


def test_the_newest_verdict_counts_and_unknown_is_none(tmp_path: Path) -> None:
    both = decisions(1)[:3]
    (a, first), (b, second), (c, _) = both
    later = START + timedelta(days=9)
    reversal = msgspec.structs.replace(first, label="fraud", labelled_at=later)
    earlier = msgspec.structs.replace(first, label="legit")
    unsure = msgspec.structs.replace(second, label="unknown", labelled_at=later)
    archive = archive_of(tmp_path, [a, b, c, reversal, earlier, second, unsure])
    found = archived_frame(FEATURES, archive, label_delay=DELAY)
    assert found.records is not None
    assert [(r.event_id, y) for r, y in zip(found.records, found.y.tolist(), strict=True)] == [(a.event_id, 1)]
    with_all = archived_frame(FEATURES, archive, label_delay=DELAY, unlabelled="legit")
    assert with_all.records is not None
    assert [record.event_id for record in with_all.records] == [a.event_id, c.event_id]
    assert with_all.y.tolist() == [1, 0]


def test_an_event_that_was_scored_twice_counts_as_at_first(tmp_path: Path) -> None:
    ((decision, label),) = decisions(1)[:1]
    again = msgspec.structs.replace(
        decision, vector=[9.0] * len(decision.vector), scored_at=decision.scored_at + timedelta(minutes=1)
    )
    found = archived_frame(FEATURES, archive_of(tmp_path, [again, decision, label]), label_delay=DELAY)
    assert found.X[0, 0] == decision.vector[0]
    assert len(found.y) == 1


def test_other_definitions_use_cases_and_days_are_left_out(tmp_path: Path) -> None:
    both = decisions(4)[:1500]
    odd = [msgspec.structs.replace(d, definition_hash="other") for d, _ in both[:5]]
    odd += [msgspec.structs.replace(d, use_case="other") for d, _ in both[5:9]]
    records = [*odd, *(d for d, _ in both[9:]), *(label for _, label in both)]
    archive = archive_of(tmp_path, records)  # type: ignore[arg-type]
    found = archived_frame(FEATURES, archive, label_delay=DELAY, since=START + DAY, until=START + 2 * DAY)
    assert {int(at) // DAY_US for at in found.event_time_us} == {micros(START + DAY) // DAY_US}
    whole = archived_frame(FEATURES, archive, label_delay=DELAY)
    assert len(whole.y) == len([d for d, _ in both[9:] if d.event_timestamp <= both[-1][0].event_timestamp])


def test_without_final_labels_there_is_no_frame(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, [decision for decision, _ in decisions(1)[:5]])
    with pytest.raises(NoDecisions, match=r"of 5 decisions of definition \w+ .* none is older than 7 days"):
        archived_frame(FEATURES, archive, label_delay=DELAY)
