"""Which rows of an archive teach the feedback model, and with which value."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.feature_set import FeatureSet
from scoring.use_case import FRAUD
from stream.records import Decision, Label, Outcome, Transaction, Verdict, micros
from tests.training.conftest import START
from tests.training.served import WIDTH, archive_of
from training.archived_frame import NoDecisions
from training.feedback_round import NothingNew, held_out
from training.feedback_rows import FeedbackRows, feedback_rows

DAY = timedelta(days=1)
END = START + 40 * DAY
FEATURES: FeatureSet = FRAUD.features


def decision(event_id: str, at: datetime, outcome: Outcome = "approve", **changes: Any) -> Decision:
    made = Decision(
        event_id=event_id,
        event_timestamp=at,
        scored_at=at,
        use_case="fraud",
        outcome=outcome,
        score=0.1,
        scores={},
        vector=[None, *[1.0] * (WIDTH - 1)],
        definition_hash=FEATURES.definition_hash,
        policy_version="1",
        record=Transaction(
            event_id=event_id, event_timestamp=at, card_id=f"card {event_id}", merchant_id="m", amount=1.0
        ),
    )
    return msgspec.structs.replace(made, **changes)


def told(event_id: str, verdict: Verdict, at: datetime, source: str = "analyst:ann") -> Label:
    return Label(event_id=event_id, label=verdict, labelled_at=at, source=source)


NOW = decision("now", END)
"""The newest record: the archive's time."""
OLD = [decision(f"old{number}", END - 10 * DAY + timedelta(minutes=number)) for number in range(4)]


def read(folder: Path, *records: Decision | Label, **options: Any) -> FeedbackRows:
    given: dict[str, Any] = {
        "analysts": "analyst:",
        "window": 30 * DAY,
        "label_delay": 7 * DAY,
        "as_of": END + DAY,
    } | options
    return feedback_rows(FEATURES, archive_of(folder / "archive", list(records)), **given)


def verdicts(found: FeedbackRows) -> dict[str, int]:
    return dict(zip(found.verdicts.event_id.tolist(), found.verdicts.frame.y.tolist(), strict=True))


def population(found: FeedbackRows) -> dict[str, int]:
    return dict(zip(found.population.event_id.tolist(), found.population.frame.y.tolist(), strict=True))


def test_verdicts_are_of_analysts_and_as_young_as_they_come(tmp_path: Path) -> None:
    young = [decision(f"young{number}", END - timedelta(hours=number + 1)) for number in range(3)]
    found = read(
        tmp_path,
        NOW,
        *young,
        told("young0", "fraud", END - timedelta(minutes=50)),
        told("young1", "legit", END - timedelta(minutes=20), "analyst:bob"),
        told("young2", "fraud", END, "feed"),
    )
    assert verdicts(found) == {"young1": 0, "young0": 1}
    assert population(found) == {}
    frame = found.verdicts.frame
    assert frame.X.shape == (2, WIDTH)
    assert frame.card.tolist() == ["card young1", "card young0"]
    assert frame.label_cutoff_us == found.verdicts.told_us.max()
    assert frame.records is not None


def test_a_reversed_verdict_counts_with_its_last_value_and_unknown_with_none(tmp_path: Path) -> None:
    late = END - DAY
    found = read(
        tmp_path,
        NOW,
        *OLD,
        told("old0", "legit", late, "analyst:bob"),
        told("old0", "fraud", late - DAY),
        told("old1", "fraud", late - DAY),
        told("old1", "legit", late, "chargebacks"),
        told("old2", "fraud", late - DAY),
        told("old2", "unknown", late),
        told("old3", "legit", late),
        told("old3", "fraud", late),
    )
    assert verdicts(found) == {"old0": 0, "old1": 0, "old3": 1}
    assert population(found) == {"old0": 0, "old1": 0, "old3": 1}
    assert found.covered == pytest.approx(0.75)


def test_the_population_is_what_has_matured_whoever_labelled_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        NOW,
        *OLD,
        decision("too young", END - 6 * DAY),
        decision("too old", END - 38 * DAY),
        decision("of another use case", END - 10 * DAY, use_case="other"),
        decision("of other features", END - 10 * DAY, definition_hash="other"),
        *(told(name, "fraud", END, "feed") for name in ("old0", "too young", "too old", "of other features")),
        told("old1", "legit", END, "feed"),
        told("of another use case", "legit", END, "feed"),
    )
    assert population(found) == {"old0": 1, "old1": 0}
    assert found.covered == 0.5
    assert verdicts(found) == {}


def test_where_only_frauds_are_reported_silence_is_legit_but_not_of_what_was_declined(tmp_path: Path) -> None:
    declined = decision("declined", END - 10 * DAY, "decline")
    found = read(
        tmp_path, NOW, *OLD, declined, told("old0", "fraud", END, "feed"), told("old1", "unknown", END, "feed"),
        unlabelled="legit",
    )  # fmt: skip
    assert population(found) == {"old0": 1, "old2": 0, "old3": 0}
    assert found.covered == pytest.approx(3 / 5)


def test_a_verdict_of_before_the_window_does_not_teach(tmp_path: Path) -> None:
    found = read(tmp_path, NOW, *OLD, told("old0", "fraud", END - 9 * DAY), told("old1", "fraud", END), window=8 * DAY)
    assert verdicts(found) == {"old1": 1}


def test_a_label_from_the_future_moves_nothing(tmp_path: Path) -> None:
    far = END + 300 * DAY
    found = read(tmp_path, NOW, *OLD, told("old0", "fraud", END), told("old1", "fraud", far))
    assert verdicts(found) == {"old0": 1}


def test_an_event_that_is_archived_twice_counts_once_as_it_was_first_scored(tmp_path: Path) -> None:
    again = msgspec.structs.replace(OLD[0], scored_at=END, vector=[2.0] * WIDTH)
    found = read(tmp_path, NOW, again, *OLD, told("old0", "fraud", END))
    assert verdicts(found) == {"old0": 1}
    assert found.verdicts.frame.X[0, 1] == 1.0


@pytest.mark.parametrize("records", [[], [decision("other", END, definition_hash="other")]])
def test_an_archive_without_decisions_of_these_features_says_so(tmp_path: Path, records: list[Decision]) -> None:
    with pytest.raises(NoDecisions, match="no decision"):
        read(tmp_path, *records)


def test_analysts_of_today_teach_on_last_years_data(tmp_path: Path) -> None:
    """Their verdicts have today's time, and what has matured is still told by the data's own."""
    today = END + 365 * DAY
    found = read(
        tmp_path,
        NOW,
        *OLD,
        decision("young", END - DAY),
        told("old0", "fraud", END - 3 * DAY, "feed"),
        told("old1", "legit", END - 3 * DAY, "feed"),
        told("old1", "fraud", today - 2 * DAY),
        told("young", "legit", today),
        as_of=today + DAY,
    )
    assert verdicts(found) == {"old1": 1, "young": 0}
    assert population(found) == {"old0": 1, "old1": 1}


def test_a_verdict_that_the_feed_confirms_later_is_as_old_as_the_analyst_who_gave_it(tmp_path: Path) -> None:
    """What the present model has learned neither judges the next one nor makes a round worth its while."""
    cutoff = END - 2 * DAY
    frauds = [decision(f"fraud{number}", END - 10 * DAY + timedelta(minutes=number)) for number in range(20)]
    found = read(
        tmp_path,
        NOW,
        *frauds,
        *(told(one.event_id, "fraud", cutoff - timedelta(minutes=5)) for one in frauds),
        *(told(one.event_id, "fraud", cutoff + DAY, "feed") for one in frauds),
        *(told(one.event_id, "fraud", cutoff + DAY, "analyst:bob") for one in frauds[:5]),
    )
    assert set(found.verdicts.told_us.tolist()) == {micros(cutoff - timedelta(minutes=5))}
    assert set(found.population.told_us.tolist()) == {micros(cutoff + DAY)}
    with pytest.raises(NothingNew, match="of 0 verdicts since"):
        held_out(found.verdicts, micros(cutoff))
