from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stream import mapping as mapping_module
from stream.mapping import MappingError, load_mapping, mapping_from
from stream.mapping_guess import NoMapping, guess_mapping, mapping_skeleton, shipped_mappings

SMALLEST: dict[str, Any] = {
    "event_timestamp": {"column": "at"},
    "card_id": {"column": "card"},
    "merchant_id": {"constant": "webshop"},
    "amount": {"column": "sum"},
}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_in_the_docstring_loads(tmp_path: Path) -> None:
    assert mapping_module.__doc__ is not None
    example = mapping_module.__doc__.split("```toml\n")[1].split("```")[0]
    mapping = load_mapping(_write(tmp_path / "example.toml", example))
    assert mapping.card_id.columns == ["number", "region"]
    assert mapping.label_delay == timedelta(days=7)
    assert mapping.ignore == ["fraud_scenario"]


def test_the_example_loads_with_its_commented_lines_too(tmp_path: Path) -> None:
    assert mapping_module.__doc__ is not None
    example = mapping_module.__doc__.split("```toml\n")[1].split("```")[0].replace("\n# ", "\n")
    mapping = load_mapping(_write(tmp_path / "example.toml", example))
    assert mapping.event_timestamp.unit == "s"
    assert mapping.event_timestamp.origin.year == 2018


def test_the_shipped_mapping_of_the_handbook_never_reads_the_scenario() -> None:
    handbook = shipped_mappings()["handbook"]
    assert "TX_FRAUD_SCENARIO" in handbook.ignore
    assert "TX_FRAUD_SCENARIO" not in [column for _, column in handbook.named_columns()]
    assert handbook.card_id.column == "CUSTOMER_ID"
    assert handbook.label_delay == timedelta(days=7)


@pytest.mark.parametrize(
    ("changes", "key", "value", "remedy"),
    [
        ({"card_id": {"colum": "card"}}, "card_id.colum", "card", "did you mean 'column'?"),
        ({"card": {"column": "card"}}, "card", {"column": "card"}, "did you mean 'card_id'?"),
        ({"card_id": {"column": 4}}, "card_id.column", 4, "expected str"),
        ({"card_id": {}}, "card_id", {}, "exactly one of column, columns, constant and row"),
        ({"card_id": {"column": "a", "constant": "b"}}, "card_id", {"column": "a", "constant": "b"}, "exactly one"),
        ({"card_id": {"columns": ["a", 7]}}, "card_id.columns[1]", 7, "expected str"),
        ({"amount": {"column": "sum", "scale": -1.0}}, "amount.scale", -1.0, "> 0"),
        ({"amount": {}}, "amount", {}, "exactly one of column and constant"),
        ({"event_timestamp": {}}, "event_timestamp.column", "(missing)", "required"),
        (
            {"event_timestamp": {"column": "at", "unit": "hours"}},
            "event_timestamp.unit",
            "hours",
            "one of ms, s, m, h, d",
        ),
        ({"event_id": {"constant": "x"}}, "event_id.constant", "x", "ids must differ"),
        ({"ignore": ["card"]}, "card_id.column", "card", "in 'ignore' too"),
        ({"label": {"column": "f", "fraud": []}}, "label.fraud", [], "length >= 1"),
    ],
)
def test_a_wrong_mapping_names_the_key_the_value_and_the_remedy(
    changes: dict[str, Any], key: str, value: object, remedy: str
) -> None:
    with pytest.raises(MappingError) as refused:
        mapping_from({**SMALLEST, **changes})
    assert (refused.value.key, refused.value.value) == (key, value)
    assert remedy in refused.value.remedy
    assert repr(key) in str(refused.value)


@pytest.mark.parametrize(
    ("table", "content", "quote"),
    [
        ("event_timestamp", {"column": "at", "zone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ("label", {"column": "f", "fraud": [1], "delay": "a week"}, "'a week' is no length of time"),
    ],
)
def test_a_wrong_zone_or_delay_is_quoted(table: str, content: dict[str, Any], quote: str) -> None:
    with pytest.raises(MappingError, match=quote):
        mapping_from({**SMALLEST, table: content})


def test_a_missing_table_is_named() -> None:
    with pytest.raises(MappingError) as refused:
        mapping_from({name: SMALLEST[name] for name in SMALLEST if name != "amount"})
    assert (refused.value.key, refused.value.value) == ("amount", "(missing)")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"broken\.toml.*not TOML"):
        load_mapping(_write(tmp_path / "broken.toml", "card_id = {"))


def test_the_handbook_is_recognised_by_its_columns(tmp_path: Path) -> None:
    header = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n"
    assert guess_mapping(_write(tmp_path / "book.csv", header)) == shipped_mappings()["handbook"]


def test_headraces_own_names_need_no_mapping(tmp_path: Path) -> None:
    header = "event_id,event_timestamp,card_id,merchant_id,amount,latitude,label\n"
    mapping = guess_mapping(_write(tmp_path / "own.csv", header))
    assert mapping.latitude is not None
    assert mapping.longitude is None
    assert mapping.label is not None
    assert mapping.label.column == "label"


def test_unknown_columns_give_a_skeleton_to_fill_in(tmp_path: Path) -> None:
    with pytest.raises(NoMapping) as refused:
        guess_mapping(_write(tmp_path / "other.csv", "trans_num,trans_time,cc_num,merchant,amt,is_fraud\n"))
    assert "no mapping for other.csv" in str(refused.value)
    assert "--mapping mapping.toml" in str(refused.value)
    assert '[card_id]\ncolumn = "cc_num"' in str(refused.value)


def test_the_skeleton_is_a_mapping_where_the_names_are_plain(tmp_path: Path) -> None:
    skeleton = mapping_skeleton(["trans_num", "trans_time", "cc_num", "merchant", "amt", "is_fraud"])
    mapping = load_mapping(_write(tmp_path / "mapping.toml", skeleton))
    assert mapping.event_timestamp.column == "trans_time"
    assert mapping.event_id is not None
    assert mapping.event_id.column == "trans_num"
