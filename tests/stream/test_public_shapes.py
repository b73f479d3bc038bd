"""Files of the shapes that people bring, made up here: each is played through a mapping file alone."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream.card_guard import CardGuard
from stream.card_key import CardKey
from stream.dataset import read_transactions
from stream.label_values import check_label_values
from stream.mapping import MappingError, mapping_from
from stream.mapping_guess import guess_mapping
from stream.played import Played
from stream.table import UnreadableTable

SPARKOV = """,trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,dob,trans_num,unix_time,merch_lat,merch_long,is_fraud
0,2019-01-01 00:00:18,2703186189652095,"fraud_Rippin, Kub and Mann",misc_net,4.97,Ann,Lee,F,1 Main,Town,NC,28654,36.07,-81.17,3495,Clerk,1988-03-09,aa1,1325376018,36.011293,-82.048315,0
1,2019-01-01 00:00:44,630423337322,fraud_Kutch,grocery_pos,107.23,Bob,Ray,M,2 Main,Town,WA,99160,48.88,-118.2,149,Clerk,1978-06-21,aa2,1325376044,49.159047,-118.186462,1
"""  # noqa: E501
IEEE_CIS = """TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD,card1,card2,card3,card4,card5,card6,addr1,addr2,P_emaildomain
2987000,0,86400,68.5,W,13926,,150.0,discover,142.0,credit,315.0,87.0,
2987001,1,86401,29.0,C,2755,404.0,150.0,mastercard,102.0,credit,,,gmail.com
"""  # noqa: E501
PAYSIM = """step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud
1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0
25,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0
"""  # noqa: E501
ULB = """"Time","V1","V2","Amount","Class"
0,-1.35,-0.07,149.62,"0"
406.5,1.19,0.26,2.69,"1"
"""
ODD = """booked;number;shop;cents;chargeback
1767225600;4711;s1;1999;N
1767225660;4711;s2;100;Y
1767225720;4712;s1;250;
"""
OF_ODD: dict[str, Any] = {
    "event_timestamp": {"column": "booked", "unit": "s"},
    "card_id": {"column": "number"},
    "merchant_id": {"column": "shop"},
    "amount": {"column": "cents", "scale": 0.01},
    "label": {"column": "chargeback", "fraud": ["Y"], "delay": "2d"},
}


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def guessed(path: Path, cards: CardGuard | None = None) -> list[Played]:
    mapping = guess_mapping(path)
    check_label_values(path, mapping)
    return list(read_transactions(path, mapping, cards=cards))


def frauds(played: Sequence[Played]) -> list[bool | None]:
    return [one.fraud for one in played]


def test_sparkov_is_recognised_and_its_card_numbers_become_tokens(tmp_path: Path) -> None:
    path = written(tmp_path / "fraudTrain.csv", SPARKOV.replace("2703186189652095", "4111111111111111"))
    first, second = guessed(path, CardGuard("tokenise", CardKey(tmp_path)))
    assert first.transaction.card_id.startswith("tok_")
    assert first.transaction.merchant_id == "fraud_Rippin, Kub and Mann"
    assert (first.transaction.event_id, first.transaction.amount, first.transaction.currency) == ("aa1", 4.97, "USD")
    assert (second.transaction.latitude, second.transaction.longitude) == (49.159047, -118.186462)
    assert second.transaction.event_timestamp == datetime(2019, 1, 1, 0, 0, 44, tzinfo=UTC)
    assert frauds([first, second]) == [False, True]


def test_ieee_cis_is_recognised_and_a_card_is_several_columns(tmp_path: Path) -> None:
    first, second = guessed(written(tmp_path / "train_transaction.csv", IEEE_CIS))
    assert first.transaction.event_timestamp == datetime(2017, 12, 1, tzinfo=UTC)
    # In CSV a cell is the text that stands there.
    assert first.transaction.card_id == "card-13926--150.0-142.0-315.0"
    assert second.transaction.card_id == "card-2755-404.0-150.0-102.0-"
    assert (second.transaction.event_id, second.transaction.merchant_id) == ("ieee-2987001", "product-C")
    assert frauds([first, second]) == [False, True]


def test_paysim_is_recognised_and_its_steps_are_hours(tmp_path: Path) -> None:
    first, second = guessed(written(tmp_path / "PS.csv", PAYSIM))
    assert first.transaction.event_timestamp == datetime(2025, 1, 1, 1, tzinfo=UTC)
    assert second.transaction.event_timestamp == datetime(2025, 1, 2, 1, tzinfo=UTC)
    assert (second.transaction.card_id, second.transaction.merchant_id) == ("C1305486145", "C553264065")
    assert (second.transaction.event_id, second.transaction.amount) == ("row-2", 181.0)
    assert frauds([first, second]) == [False, True]


def test_a_file_without_cards_plays_with_the_row_as_card(tmp_path: Path) -> None:
    path = tmp_path / "creditcard.csv.gz"
    path.write_bytes(gzip.compress(ULB.encode()))
    mapping = mapping_from(
        {
            "event_timestamp": {"column": "Time", "unit": "s", "origin": datetime(2013, 9, 1, tzinfo=UTC)},
            "card_id": {"row": True, "prefix": "card-"},
            "merchant_id": {"constant": "unknown"},
            "amount": {"column": "Amount"},
            "label": {"column": "Class", "fraud": [1]},
        }
    )
    first, second = read_transactions(path, mapping)
    assert (first.transaction.card_id, second.transaction.card_id) == ("card-1", "card-2")
    assert second.transaction.event_timestamp == datetime(2013, 9, 1, 0, 6, 46, 500_000, tzinfo=UTC)
    assert frauds([first, second]) == [False, True]


def test_other_names_units_and_labels_are_a_matter_of_the_mapping(tmp_path: Path) -> None:
    path = written(tmp_path / "odd.csv", ODD)
    check_label_values(path, mapping_from(OF_ODD))
    played = list(read_transactions(path, mapping_from(OF_ODD)))
    assert [one.transaction.amount for one in played] == [19.99, 1.0, 2.5]
    assert played[0].transaction.event_timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert [one.transaction.device_id for one in played] == [None] * 3
    assert frauds(played) == [False, True, None]


def test_a_label_value_that_nothing_has_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = written(tmp_path / "odd.csv", ODD)
    wrong = mapping_from({**OF_ODD, "label": {"column": "chargeback", "fraud": ["yes", 1]}})
    with pytest.raises(
        MappingError, match=r"'label\.fraud' has \['yes', 1\]: no cell of column 'chargeback' of odd.csv"
    ):
        check_label_values(path, wrong)
    with pytest.raises(MappingError, match=r"it holds '[NY]', '[NY]'; list the values that mean fraud$"):
        check_label_values(path, wrong)
    # What has one value only may be a day without fraud.
    check_label_values(written(tmp_path / "quiet.csv", ODD.replace("Y", "N")), wrong)


def test_hours_that_are_called_so_are_refused_with_the_units_there_are() -> None:
    with pytest.raises(MappingError, match=r"'event_timestamp\.unit' has 'hours'"):
        mapping_from({**OF_ODD, "event_timestamp": {"column": "booked", "unit": "hours"}})


def test_a_packed_file_is_to_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTable, match=r"'creditcardfraud.zip'; unpack it first"):
        guess_mapping(written(tmp_path / "creditcardfraud.zip", "PK"))
