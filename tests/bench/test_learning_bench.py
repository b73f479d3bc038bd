from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest

from bench import learning
from bench.arm_figures import AP, AUC, COST, CP, Judge, gains_of
from bench.late_rows import NEW_PATTERN_WEEK, WEEK_DAYS, LateRows, handbook_rows, simulated_rows
from bench.learning import EARLIER_WEEKS, Measured, choice_figures, figures_of_all, parts_of, worlds_here
from bench.run import BENCHES
from features.fraud import FRAUD
from models.ensemble import BATCH, FEEDBACK
from stream.dataset import read_transactions
from stream.mapping_guess import shipped_mappings
from stream.table import literal
from tests.bench.late_worlds import late_rows
from training.metrics import DAY_US, auc, average_precision, card_precision, days_of
from training.prequential import ONLINE
from training.replay import Replay, in_share


@pytest.fixture(scope="module")
def rows() -> LateRows:
    return late_rows(np.ones(9 * 7, dtype=np.bool_), 21)


def members(rows: LateRows) -> dict[str, np.ndarray]:
    rng, count = np.random.default_rng(5), rows.judged.stop - rows.judged.start
    return {name: rng.random(count) for name in (BATCH, FEEDBACK, ONLINE)}


def test_weights_are_chosen_on_weeks_that_are_not_shown(rows: LateRows) -> None:
    said = members(rows)
    row_number = {**said, BATCH: np.arange(len(said[BATCH]), dtype=np.float64)}
    earlier, later = parts_of(rows, row_number)
    times = rows.frame.event_time_us[rows.judged]
    edge_us = rows.begins_us + EARLIER_WEEKS * WEEK_DAYS * DAY_US
    assert times[earlier.members[BATCH].astype(int)].max() < edge_us <= times[later.members[BATCH].astype(int)].min()
    assert len(earlier.y) + len(later.y) == len(times)


def test_what_is_shown_has_no_say_in_the_choice(rows: LateRows) -> None:
    earlier, later = parts_of(rows, members(rows))
    turned = later._replace(y=(1 - later.y).astype(np.int8))
    (name, was), (_, shown) = choice_figures("tiny", [earlier], [later]).items()
    (again, is_now), (_, shown_now) = choice_figures("tiny", [earlier], [turned]).items()
    assert (name, was) == (again, is_now)
    assert shown.value != shown_now.value


def test_without_the_handbook_the_simulator_is_measured_and_the_rest_is_said_to_be_missing(
    rows: LateRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "RAW", Path("nowhere.parquet"))
    assert worlds_here() == ["simulator"]
    earlier, later = parts_of(rows, members(rows))
    both = {"once": earlier, "weekly": earlier}, {"once": later, "weekly": later}
    figures = figures_of_all({"simulator": Measured({}, *both)})
    assert "nowhere.parquet" in figures["handbook: all figures"].note
    assert "weights, all worlds, batch weekly, later gain" in figures
    assert "learning" in BENCHES


def test_figures_are_those_of_the_metrics(rows: LateRows) -> None:
    judged, score = rows.judged, members(rows)[ONLINE]
    y, times, card = rows.frame.y[judged], rows.frame.event_time_us[judged], rows.frame.card[judged]
    found = Judge(rows).all_of(score)
    assert found[AUC].value == pytest.approx(auc(y, score))
    assert found[AP].value == pytest.approx(average_precision(y, score))
    first = times < rows.begins_us + WEEK_DAYS * DAY_US
    expected = card_precision(days_of(times[first]), card[first], score[first], y[first], rows.cards_a_day)
    assert found[CP].by_week[0] == pytest.approx(expected)
    assert found[AP].by_week[0] == pytest.approx(average_precision(y[first], score[first]))


def test_an_arm_that_knows_more_gains_and_costs_less(rows: LateRows) -> None:
    judge, y = Judge(rows), rows.frame.y[rows.judged]
    noise = members(rows)[ONLINE]
    knows, guesses = judge.all_of(0.9 * y + 0.1 * noise), judge.all_of(noise)
    figures = gains_of("tiny", "one", knows, guesses, "other")
    assert figures[f"tiny: one against other, {AP}"].value > 0.2
    assert figures[f"tiny: one against other, {COST}"].value < 0.0
    weeks = len(knows[AP].by_week)
    assert f"better in {weeks} of {weeks} weeks" in figures[f"tiny: one against other, {AP}"].note
    assert f"better in {weeks} of {weeks} weeks" in figures[f"tiny: one against other, {COST}"].note
    same = gains_of("tiny", "one", guesses, guesses, "other")
    assert {figure.value for figure in same.values()} == {0.0}


def test_the_simulated_world_has_a_pattern_that_begins_while_it_is_scored() -> None:
    rows = simulated_rows(customers=60)
    frame = rows.frame
    assert frame.feature_names == FRAUD.names
    assert rows.longest_delay_us == 10 * DAY_US
    waits = rows.known_us - frame.event_time_us
    assert set(waits[frame.y == 0]) == {10 * DAY_US}
    assert (waits[frame.y == 1] < 10 * DAY_US).mean() > 0.9
    amount = frame.X[:, FRAUD.names.index("amount")]
    shifted = frame.event_time_us >= rows.begins_us + 6 * 7 * DAY_US
    assert 1.3 < np.median(amount[shifted]) / np.median(amount[~shifted]) < 1.7
    assert NEW_PATTERN_WEEK < EARLIER_WEEKS


def test_rows_of_a_file_have_the_vectors_that_the_live_engine_gives(tmp_path: Path) -> None:
    path = tmp_path / "payments.parquet"
    rows_sql = (
        "SELECT i AS TRANSACTION_ID, TIMESTAMP '2018-04-01' + INTERVAL (i * 2621) SECOND AS TX_DATETIME,"
        " (i * 7) % 23 AS CUSTOMER_ID, (i * 5) % 11 AS TERMINAL_ID, 5.0 + (i * 13) % 97 AS TX_AMOUNT,"
        " 0 AS TX_TIME_SECONDS, 0 AS TX_TIME_DAYS, (i % 19 = 0)::INT AS TX_FRAUD, 0 AS TX_FRAUD_SCENARIO"
        " FROM range(2000) AS t(i)"
    )
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows_sql}) TO {literal(str(path))} (FORMAT parquet)")
    rows = handbook_rows(path, share=0.5)
    frame = Replay(FRAUD).advance(
        read_transactions(path, shipped_mappings()["handbook"]),
        collect_from=min(record.event_timestamp for record in rows.records),
        share=0.5,
        keep_records=True,
    )
    assert frame is not None
    assert frame.records is not None
    ids = {record.event_id: place for place, record in enumerate(rows.records.tolist())}
    places = [ids[record.event_id] for record in frame.records.tolist()]
    assert len(places) > 100
    np.testing.assert_allclose(rows.frame.X[places], frame.X, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(rows.frame.y[places], frame.y)
    assert all(in_share(card, 0.5) for card in Counter(rows.frame.card.tolist()))
