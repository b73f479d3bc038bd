"""The handbook's protocol, said again by brute force; and what may be looked at before the judged week."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from bench.handbook_choice import known_before, validation_folds
from bench.handbook_members import Members, OnlineDays
from bench.handbook_protocol import (
    CARDS_A_DAY,
    CHAPTER_3,
    PREQUENTIAL,
    Fold,
    day_number,
    judged_rows,
    missing_days,
    quality,
    training_rows,
)
from bench.handbook_rows import Rows
from models.contract import Vector
from tests.bench.made_handbook import made_rows

FOLD = Fold(date(2018, 6, 29))


def redrawn(rows: Rows, from_day: int, until_day: int = 10**9) -> Rows:
    """The same rows with other labels from one day until before another."""
    wanted = (rows.day >= from_day) & (rows.day < until_day)
    other = np.random.default_rng(99).random(len(rows.y)) < 0.05
    return replace(rows, y=np.where(wanted, other, rows.y).astype(np.int8))


def of_first_day(rows: Rows, score: Vector) -> dict[str, float]:
    """The scores of the first judged day, by event."""
    judged = judged_rows(rows, FOLD)
    today = rows.day[judged] == day_number(FOLD.test_from)
    return dict(zip(rows.event_id[judged[today]].tolist(), score[today].tolist(), strict=True))


def test_a_week_teaches_a_week_passes_a_week_is_judged() -> None:
    assert (CHAPTER_3.train_from, CHAPTER_3.test_from, CHAPTER_3.last) == (
        date(2018, 7, 25),
        date(2018, 8, 8),
        date(2018, 8, 14),
    )
    assert [fold.test_from for fold in PREQUENTIAL] == [date(2018, 8, day) for day in (8, 15, 22, 29)]
    rows = made_rows()
    taught = rows.day[training_rows(rows, FOLD)]
    assert (taught.min(), taught.max()) == (day_number(date(2018, 6, 29)), day_number(date(2018, 7, 5)))
    matured = rows.day[training_rows(rows, FOLD, date(2018, 6, 3))]
    assert (matured.min(), matured.max()) == (day_number(date(2018, 6, 3)), day_number(date(2018, 7, 5)))
    judged = rows.day[judged_rows(rows, FOLD)]
    assert (judged.min(), judged.max()) == (day_number(date(2018, 7, 13)), day_number(date(2018, 7, 19)))


@pytest.mark.parametrize("seed", range(3))
def test_customers_with_known_fraud_are_left_out_day_by_day(seed: int) -> None:
    rows = made_rows(seed)
    train_from, test_from = day_number(FOLD.train_from), day_number(FOLD.test_from)
    known: set[str] = set()
    for day in range(train_from, train_from + 7):
        known |= set(rows.card[(rows.day == day) & (rows.y != 0)].tolist())
    wanted: list[int] = []
    for day in range(test_from, test_from + 7):
        known |= set(rows.card[(rows.day == day - 8) & (rows.y != 0)].tolist())
        wanted += [int(row) for row in np.flatnonzero(rows.day == day) if rows.card[row] not in known]
    assert judged_rows(rows, FOLD).tolist() == wanted
    assert 0 < len(wanted) < 7 * 200


def test_the_top_hundred_cards_of_a_day_count_and_what_was_caught_is_gone() -> None:
    rows = made_rows(cards=400, per_day=500)
    judged = judged_rows(rows, FOLD)
    score = rows.X[judged, 0]
    caught: set[str] = set()
    shares = []
    for day in sorted(set(rows.day[judged].tolist())):
        highest: dict[str, float] = {}
        compromised: set[str] = set()
        for place, row in enumerate(judged):
            card = rows.card[row]
            if rows.day[row] == day and card not in caught:
                highest[card] = max(highest.get(card, -np.inf), score[place])
                if rows.y[row]:
                    compromised.add(card)
        top = set(sorted(highest, key=lambda card: -highest[card])[:CARDS_A_DAY])
        assert len(highest) > CARDS_A_DAY
        shares.append(len(top & compromised) / CARDS_A_DAY)
        caught |= top & compromised
    assert quality(rows, judged, score).card_precision == pytest.approx(np.mean(shares), abs=1e-12)


def test_the_choice_sees_no_label_that_is_not_known_when_the_judged_week_begins() -> None:
    rows = made_rows(days=75)
    seen = known_before(rows, FOLD)
    assert seen.day.max() == day_number(FOLD.test_from) - 8
    assert len(seen.event_id) == len(seen.y) == len(seen.card) == len(seen.X) == int((rows.day <= seen.day.max()).sum())
    for fold in validation_folds(FOLD):
        assert day_number(fold.last) <= seen.day.max()
    assert max(fold.last for fold in validation_folds(FOLD)) == date(2018, 7, 5)


def test_an_online_score_knows_no_label_of_the_seven_days_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.handbook_members.ONLINE_SHARE", 1.0)
    rows = made_rows(per_day=60)
    first = day_number(FOLD.test_from)

    def said(one: Rows) -> dict[str, float]:
        return of_first_day(one, OnlineDays(one.names, date(2018, 6, 6)).scores(one, FOLD))

    before = said(rows)
    assert len(before) > 10
    assert said(redrawn(rows, first - 7)) == before
    earlier = said(redrawn(rows, first - 16, first - 14))  # before the week whose customers are left out
    assert earlier.keys() == before.keys()
    assert earlier != before


def test_an_online_member_goes_on_to_later_folds_as_if_it_had_never_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.handbook_members.ONLINE_SHARE", 1.0)
    rows, later = made_rows(per_day=60), FOLD.later(1)
    paused = OnlineDays(rows.names, date(2018, 6, 6))
    assert len(paused.scores(rows.before(FOLD.last + timedelta(days=1)), FOLD))
    through = OnlineDays(rows.names, date(2018, 6, 6)).scores(rows, later)
    assert paused.scores(rows, later).tolist() == through.tolist()


@pytest.mark.parametrize("since", [None, date(2018, 6, 1)])
def test_a_batch_score_knows_no_label_after_the_training_week(
    monkeypatch: pytest.MonkeyPatch, since: date | None
) -> None:
    monkeypatch.setattr("bench.handbook_members.FEATURES", {"two": ("told", "noise")})
    rows = made_rows()
    end = day_number(FOLD.train_from) + 7

    def said(one: Rows) -> dict[str, float]:
        return of_first_day(one, Members().batch(one, FOLD, "two", since, "logistic_regression"))

    before = said(rows)
    assert said(redrawn(rows, end)) == before
    earlier = said(redrawn(rows, end - 3))
    assert all(earlier[one] != before[one] for one in earlier.keys() & before.keys())


def test_a_fold_says_how_many_days_the_file_lacks() -> None:
    rows = made_rows()  # to 2018-07-30
    assert [missing_days(rows, FOLD.later(weeks)) for weeks in range(4)] == [0, 0, 3, 7]
