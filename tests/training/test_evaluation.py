"""Only what has matured counts, scores stay as they were given, and the figures are those of the definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.online import OnlineLearner, OnlineSettings
from stream.archive import Archive
from stream.log import Entry, Partition
from stream.records import Decision, Label, MemberScore, encode, from_micros, micros
from tests.training.conftest import START
from tests.training.contest import TRUE_WEIGHTS, costs, frame
from training.card_draws import CardDraws, RankedRows
from training.evaluation import evaluate
from training.evaluation_report import Evaluation
from training.judged_rows import ALL, JudgedRows, judged_rows
from training.matured import Fates, Matured, matured
from training.metrics import DAY_US, auc, card_precision, days_of
from training.prequential import online_scores
from training.replay import objects

DELAY = timedelta(days=7)


def archived(directory: Path, *records: Decision | Label) -> Archive:
    batch: dict[Partition, list[Entry]] = {}
    for number, record in enumerate(records):
        part = Partition(record.topic, 0)
        batch.setdefault(part, []).append(Entry(8 * number, record.key, encode(record)))
    with Archive(directory) as archive:
        archive.write("redis", batch)
    return archive


def look(archive: Archive, **options: Any) -> Matured:
    return matured(archive, "fraud", label_delay=DELAY, **options)


def judged(found: Matured) -> dict[str, bool]:
    return {decision.event_id: is_fraud for decision, is_fraud in found.rows}


def said(event_id: str, verdict: Any, day: float) -> Label:
    return Label(event_id=event_id, label=verdict, labelled_at=START + timedelta(days=day))


def test_what_has_not_matured_counts_as_such_and_not_as_legit(
    tmp_path: Path, decision: Callable[..., Decision]
) -> None:
    decisions = [decision("old", day=0), decision("young", day=5), decision("young fraud", day=6)]
    labels = [said("old", "legit", 7), said("young fraud", "fraud", 8), said("elsewhere", "legit", 10)]
    found = look(archived(tmp_path, *decisions, *labels))
    assert judged(found) == {"old": False}
    assert found.fates == Fates(3, 1, 2, 0, 0, micros(START + timedelta(days=10)))


def test_a_label_counts_from_when_it_arrived(tmp_path: Path, decision: Callable[..., Decision]) -> None:
    labels = [said("a", "legit", 7), said("a", "fraud", 20), said("b", "legit", 8), said("c", "fraud", 30)]
    archive = archived(tmp_path, decision("a"), decision("b"), decision("c"), *labels)
    assert judged(look(archive)) == {"a": True, "b": False, "c": True}
    earlier = look(archive, as_of=START + timedelta(days=19))
    assert judged(earlier) == {"a": False, "b": False}
    assert earlier.fates.unlabelled == 1


def test_events_without_a_verdict_are_left_out_or_legit_as_asked(
    tmp_path: Path, decision: Callable[..., Decision]
) -> None:
    labels = [said("fraud", "fraud", 3), said("unsure", "unknown", 9)]
    archive = archived(tmp_path, decision("fraud"), decision("silent"), decision("unsure"), *labels)
    assert judged(look(archive)) == {"fraud": True}
    found = look(archive, unlabelled="legit")
    assert judged(found) == {"fraud": True, "silent": False}
    assert (found.fates.assumed, found.fates.unlabelled) == (1, 1)


def test_an_event_counts_once_as_it_was_first_scored(tmp_path: Path, decision: Callable[..., Decision]) -> None:
    again = msgspec.structs.replace(decision("a", score=0.9), scored_at=START + timedelta(hours=1))
    archive = archived(tmp_path, again, decision("a", score=0.2), said("a", "legit", 8))
    (row,) = look(archive).rows
    assert row[0].score == 0.2


def test_scores_are_those_that_were_given_by_member_and_without_what_rules_added(
    decision: Callable[..., Decision],
) -> None:
    both = msgspec.structs.replace(
        decision("a", score=0.6),
        scores={"batch": MemberScore("v1", 0.3), "online": MemberScore("o.7", 0.4)},
        score_added=0.25,
    )
    silent = msgspec.structs.replace(decision("b"), scores={}, degraded=["models"])
    rows = judged_rows([(both, True), (decision("c", score=0.1), False), (silent, False)], Fates(3, 3, 0, 0, 0, 0))
    assert rows.scores[ALL][:2] == pytest.approx([0.35, 0.1])
    assert np.isnan(rows.scores[ALL][2])
    assert rows.scores["online"][0] == 0.4
    assert len(rows.heard("online")) == 1
    assert rows.versions == {"batch": {"v1": 2}, "online": {"o.7": 1}}


def truth(seed: int = 0) -> JudgedRows:
    """Eight days, scored with the very probabilities by which the frauds were drawn; decided by the policy."""
    drawn = frame(seed=seed)
    assert drawn.records is not None
    probability = 1.0 / (1.0 + np.exp(4.0 - drawn.X @ np.array(TRUE_WEIGHTS)))
    choices = costs().choices(drawn.records.tolist(), probability)
    return JudgedRows(
        y=drawn.y,
        event_time_us=drawn.event_time_us,
        card=drawn.card,
        records=drawn.records,
        scores={ALL: probability, "loud": np.minimum(4.0 * probability, 1.0)},
        outcome=objects([choice.outcome for choice in choices]),
        expected_cost=np.array([getattr(choice.expected, choice.outcome) for choice in choices]),
        versions={},
        policies={costs().policy.version: len(drawn.y)},
        fates=Fates(len(drawn.y), len(drawn.y), 0, 0, 0, int(drawn.event_time_us.max())),
    )


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(truth(), costs(), use_case="fraud", source="a test", made_at=START, draws=60, cards_a_day=20)


def test_the_figures_are_exact(found: Evaluation) -> None:
    rows = truth()
    whole = found.members[ALL]
    assert whole.auc is not None
    assert whole.average_precision is not None
    assert whole.auc.value == pytest.approx(roc_auc_score(rows.y, rows.scores[ALL]))
    assert whole.average_precision.value == pytest.approx(average_precision_score(rows.y, rows.scores[ALL]))
    precision = card_precision(days_of(rows.event_time_us), rows.card, rows.scores[ALL], rows.y, 20)
    assert whole.card_precision.value == pytest.approx(precision)
    assert np.mean([day.card_precision for day in found.days]) == pytest.approx(precision)
    assert whole.card_precision.value <= whole.card_precision_limit
    for one in (whole.auc, whole.average_precision, whole.card_precision, found.costs.realised):
        assert one.low <= one.value <= one.high
        assert one.low < one.high


def test_a_true_score_costs_what_was_expected() -> None:
    off = []
    for seed in range(8):
        rows = truth(seed)
        came = costs().came(rows.records.tolist(), rows.outcome.tolist(), rows.y)
        off.append(float(np.mean(came - rows.expected_cost) / np.mean(came)))
    assert abs(np.mean(off)) < 3.0 * np.std(off) / np.sqrt(len(off))
    assert np.std(off) < 0.15


def test_a_true_score_is_calibrated_and_a_loud_one_is_not(found: Evaluation) -> None:
    assert found.costs.saved.low > 0.0
    whole, loud = found.members[ALL], found.members["loud"]
    assert whole.calibration_error < 2.0 * whole.chance_error
    assert loud.calibration_error > 5.0 * loud.chance_error
    inside = [one.fraud_rate.low <= one.mean_score <= one.fraud_rate.high for one in found.calibration[ALL]]
    assert sum(inside) >= 0.7 * len(inside)
    assert all(one.mean_score > one.fraud_rate.value for one in found.calibration["loud"] if one.frauds > 10)


def test_bins_have_equal_mass_and_days_and_parts_add_up(found: Evaluation) -> None:
    sizes = [one.rows for one in found.calibration[ALL]]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == sum(day.rows for day in found.days) == found.mature
    amounts = [part.rows for name, part in found.parts.items() if name.startswith("amount")]
    assert sum(amounts) == found.mature
    assert {"device: known", "device: unknown"} <= set(found.parts)
    assert sum(day.approved + day.reviewed + day.declined for day in found.days) == found.mature


def test_what_outcomes_cost_is_by_the_policy_and_the_label(decision: Callable[..., Decision]) -> None:
    record = msgspec.structs.replace(decision("a").record, amount=100.0)
    came = costs().came([record] * 4, ["approve", "approve", "decline", "decline"], np.array([1, 0, 1, 0], np.int8))
    assert came.tolist() == [115.0, 0.0, 0.0, 11.0]


def test_a_day_of_which_nothing_is_known_is_not_there_and_few_frauds_are_said(found: Evaluation) -> None:
    rows = truth()
    few = np.flatnonzero(rows.event_time_us < micros(START) + DAY_US // 4)
    part = JudgedRows(
        y=np.zeros(len(few), dtype=np.int8),
        event_time_us=rows.event_time_us[few],
        card=rows.card[few],
        records=rows.records[few],
        scores={ALL: rows.scores[ALL][few]},
        outcome=rows.outcome[few],
        expected_cost=np.full(len(few), np.nan),
        versions={},
        policies={"another": len(few)},
        fates=Fates(len(few), len(few), 0, 0, 0, 0),
    )
    told = evaluate(part, costs(), use_case="fraud", source="a test", made_at=START, draws=20)
    assert (told.members[ALL].auc, told.costs.expected, len(told.days)) == (None, None, 1)
    assert any("Only 0 frauds" in note for note in told.notes)
    assert any("another" in note for note in told.notes)


def test_drawing_a_card_twice_is_as_having_its_rows_twice() -> None:
    rng = np.random.default_rng(3)
    label, score = (rng.random(80) < 0.3).astype(np.int8), np.round(rng.random(80), 1)
    draws = CardDraws(rng.integers(0, 12, 80), draws=5)
    ranked = RankedRows(draws.index, score, label)
    for counts in draws:
        rows = np.repeat(np.arange(80), counts[draws.index])
        assert ranked.auc(counts) == pytest.approx(auc(label[rows], score[rows]))


def test_a_label_teaches_nothing_before_it_arrives() -> None:
    """What rows say does not change when labels change that were not known by then."""
    drawn = frame()
    known = drawn.event_time_us + 2 * DAY_US

    def says(y: Sequence[int] | np.ndarray) -> np.ndarray:
        learner = OnlineLearner(drawn.feature_names, settings=OnlineSettings(min_labels=5))
        return online_scores(learner, drawn.X[:2000], drawn.event_time_us[:2000], known[:2000], np.asarray(y))

    at_us = micros(START) + 3 * DAY_US
    changed = np.where(known[:2000] > at_us, 1 - drawn.y[:2000], drawn.y[:2000])
    one, other = says(drawn.y[:2000]), says(changed)
    early = drawn.event_time_us[:2000] <= at_us
    np.testing.assert_array_equal(one[early], other[early])
    assert np.isnan(one[drawn.event_time_us[:2000] < micros(START) + 2 * DAY_US]).all()
    assert (one[~early] != other[~early]).any()
    assert from_micros(at_us) > START
