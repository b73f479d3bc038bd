from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stream.dataset import InvalidRow, read_transactions
from stream.invalid_record import InvalidRecord
from stream.mapping import Mapping, MappingError, load_mapping, mapping_from
from stream.mapping_guess import guess_mapping
from stream.played import Played
from stream.table import UnreadableTable

HANDBOOK = Path(__file__).parents[2] / "../shared/data/fdh/raw_dev_2018-04-01_2018-08-14.parquet"
NAMES: dict[str, Any] = {
    "event_timestamp": {"column": "at"},
    "event_id": {"column": "id"},
    "card_id": {"column": "card"},
    "merchant_id": {"column": "shop"},
    "amount": {"column": "sum"},
}


def _csv(folder: Path, *lines: str, name: str = "payments.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _mapping(**changes: Any) -> Mapping:
    return mapping_from({**NAMES, **changes})


def _read(path: Path, mapping: Mapping, **options: Any) -> list[Played]:
    return list(read_transactions(path, mapping, **options))


def _ids(rows: list[Played]) -> list[str]:
    return [row.transaction.event_id for row in rows]


def test_another_banks_file_needs_only_a_mapping_file(tmp_path: Path) -> None:
    table = _csv(
        tmp_path,
        "Buchung;Nummer;Land;Händler;Cent;Betrug;Spur",
        "2026-03-01 12:00:00;4711;DE;Bäckerei;350;nein;x",
        "2026-07-01 12:00:00;4712;FR;Kiosk;1999;ja;y",
        "2026-07-02 12:00:00;4712;FR;Kiosk;20;?;y",
    )
    rules = tmp_path / "bank.toml"
    rules.write_text(
        'ignore = ["Spur"]\n'
        '[event_timestamp]\ncolumn = "Buchung"\nzone = "Europe/Berlin"\n'
        '[card_id]\ncolumns = ["Nummer", "Land"]\nprefix = "card-"\n'
        '[merchant_id]\ncolumn = "Händler"\n'
        '[amount]\ncolumn = "Cent"\nscale = 0.01\n'
        '[currency]\nconstant = "CHF"\n'
        '[label]\ncolumn = "Betrug"\nfraud = ["ja"]\nunknown = ["?"]\ndelay = "36h"\n',
        encoding="utf-8",
    )
    winter, summer, last = _read(table, load_mapping(rules))
    assert winter.transaction.event_timestamp == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert summer.transaction.event_timestamp == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert summer.transaction.card_id == "card-4712-FR"
    assert winter.transaction.merchant_id == "Bäckerei"
    assert summer.transaction.amount == 19.99
    assert summer.transaction.currency == "CHF"
    assert summer.transaction.event_id == "row-2"
    assert [row.fraud for row in (winter, summer, last)] == [False, True, None]
    assert summer.label_delay == timedelta(hours=36)


def test_rows_come_by_time_and_rows_of_one_time_in_the_files_order(tmp_path: Path) -> None:
    table = _csv(
        tmp_path,
        "id,at,card,shop,sum",
        "late,2026-01-03T00:00:00Z,c,m,1",
        "b,2026-01-02T00:00:00Z,c,m,1",
        "a,2026-01-02T00:00:00Z,c,m,1",
        "early,2026-01-02T00:30:00+01:00,c,m,1",
    )
    assert _ids(_read(table, _mapping())) == ["early", "b", "a", "late"]


def test_start_is_inside_end_is_outside_and_limit_counts(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", *(f"d{day},2026-01-0{day},c,m,1" for day in range(1, 8)))
    days = {"start": datetime(2026, 1, 2, tzinfo=UTC), "end": datetime(2026, 1, 6, tzinfo=UTC)}
    assert _ids(_read(table, _mapping(), **days)) == ["d2", "d3", "d4", "d5"]
    assert _ids(_read(table, _mapping(), **days, limit=2)) == ["d2", "d3"]
    assert _ids(_read(table, _mapping(), limit=0)) == []


@pytest.mark.parametrize(("unit", "cell"), [("s", "86400.25"), ("ms", "86400250")], ids=["seconds", "milliseconds"])
def test_numbers_count_from_their_origin(tmp_path: Path, unit: str, cell: str) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", f"e,{cell},c,m,1")
    source = {"column": "at", "unit": unit, "origin": "2018-04-01T00:00:00Z"}
    (row,) = _read(table, _mapping(event_timestamp=source))
    assert row.transaction.event_timestamp == datetime(2018, 4, 2, 0, 0, 0, 250_000, tzinfo=UTC)


def test_empty_cells_are_absent_where_a_field_is_optional(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum,phone,lat,lon", "e,2026-01-01,c,m,1,,,", 'f,2026-01-02,c,m,1,"",9.5,8')
    optional = {"device_id": {"column": "phone"}, "latitude": {"column": "lat"}, "longitude": {"column": "lon"}}
    first, second = (row.transaction for row in _read(table, _mapping(**optional)))
    assert (first.device_id, first.latitude, first.longitude) == (None, None, None)
    assert (second.device_id, second.latitude, second.longitude) == (None, 9.5, 8.0)


def test_ids_that_were_saved_as_floats_are_whole_again(tmp_path: Path) -> None:
    table = tmp_path / "payments.parquet"
    duckdb.sql(
        f"COPY (SELECT 1 AS id, TIMESTAMP '2026-01-01' AS at, 12.0::DOUBLE AS card, 'nan'::DOUBLE AS phone, "
        f"5.0 AS sum, 1::TINYINT AS fraud) TO '{table}'"
    )
    device, label = {"column": "phone"}, {"column": "fraud", "fraud": [True, 1]}
    (row,) = _read(table, _mapping(merchant_id={"constant": "webshop"}, device_id=device, label=label))
    assert row.transaction.card_id == "12"
    assert row.transaction.device_id is None
    assert row.fraud is True


def test_joined_columns_with_a_gap_stay_apart(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,a,b,c,shop,sum", "1,2026-01-01,x,,y,m,1", "2,2026-01-02,x,y,,m,1")
    cards = [row.transaction.card_id for row in _read(table, _mapping(card_id={"columns": ["a", "b", "c"]}))]
    assert cards == ["x--y", "x-y-"]


def test_a_column_that_does_not_exist_is_named_with_its_neighbours(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card_no,shop,sum")
    with pytest.raises(MappingError) as refused:
        read_transactions(table, _mapping())
    assert refused.value.key == "card_id.column"
    assert "did you mean 'card_no'?" in str(refused.value)
    assert "id, at, card_no, shop, sum" in str(refused.value)


def test_a_column_of_numbers_asks_for_its_unit(tmp_path: Path) -> None:
    table = tmp_path / "payments.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS id, 86400 AS at, 'c' AS card, 'm' AS shop, 5.0 AS sum) TO '{table}'")
    with pytest.raises(MappingError, match="say 'ms', 's', 'm', 'h' or 'd'"):
        read_transactions(table, _mapping())


INVALID = [
    ("e,yesterday,c,m,1,EUR,0", "event_timestamp", "'yesterday'"),
    ("e,,c,m,1,EUR,0", "event_timestamp", "(missing)"),
    ("e,2026-01-01,,m,1,EUR,0", "card_id", "(missing)"),
    (",2026-01-01,c,m,1,EUR,0", "event_id", "(missing)"),
    (f"e,2026-01-01,{'c' * 129},m,1,EUR,0", "card_id", "'ccc"),
    ("e,2026-01-01,c,m,ten,EUR,0", "amount", "'ten'"),
    ("e,2026-01-01,c,m,-1,EUR,0", "amount", "-1.0"),
    ("e,2026-01-01,c,m,nan,EUR,0", "amount", "nan"),
    ("e,2026-01-01,c,m,inf,EUR,0", "amount", "inf"),
    ("e,2026-01-01,c,m,,EUR,0", "amount", "(missing)"),
    ("e,2026-01-01,c,m,1,euro,0", "currency", "'euro'"),
    ("e,2026-01-01,c,m,1,EUR,91", "latitude", "91.0"),
    ("e,2026-01-01,c,m,1,EUR,north", "latitude", "'north'"),
]


@pytest.mark.parametrize(("line", "field", "value"), INVALID)
def test_an_invalid_row_is_refused_with_its_row_field_and_value(
    tmp_path: Path, line: str, field: str, value: str
) -> None:
    good = "good,2025-01-01,c,m,1,EUR,0"
    table = _csv(tmp_path, "id,at,card,shop,sum,money,lat", good, line, good)
    mapping = _mapping(currency={"column": "money"}, latitude={"column": "lat"})
    with pytest.raises(InvalidRecord) as refused:
        _read(table, mapping)
    assert isinstance(refused.value, InvalidRow)
    assert (refused.value.row, refused.value.field) == (2, field)
    assert refused.value.value.startswith(value)
    assert "row 2 of payments.csv" in str(refused.value)

    rows = read_transactions(table, mapping, on_invalid="skip")
    assert _ids(list(rows)) == ["good", "good"]
    assert rows.skipped == 1
    assert str(rows.first_skipped) == str(refused.value)


def test_a_line_with_too_many_cells_is_named_or_counted(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", "a,2026-01-01,c,m,1", "b,2026-01-02,c,m,1,2,3", "c,2026-01-03,c,m,1")
    with pytest.raises(InvalidRecord, match=r"line 3.*b,2026-01-02,c,m,1,2,3"):
        _read(table, _mapping())
    rows = read_transactions(table, _mapping(), on_invalid="skip")
    assert _ids(list(rows)) == ["a", "c"]
    assert rows.skipped == 1


def test_limit_counts_only_the_rows_that_are_played(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", "a,never,c,m,1", "b,2026-01-02,c,m,-1", "c,2026-01-03,c,m,1")
    assert _ids(_read(table, _mapping(), on_invalid="skip", limit=1)) == ["c"]


def test_a_row_without_a_time_is_not_hidden_by_a_range(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", "a,never,c,m,1")
    with pytest.raises(InvalidRecord, match="'never'"):
        _read(table, _mapping(), start=datetime(2026, 1, 1, tzinfo=UTC))


def test_packed_csv_reads_like_csv(tmp_path: Path) -> None:
    table = tmp_path / "payments.csv.gz"
    table.write_bytes(gzip.compress(b'\xef\xbb\xbfid,at,card,shop,sum\r\n1,2026-01-01,c,"m, and sons",1.5\r\n'))
    (row,) = _read(table, _mapping())
    assert (row.transaction.merchant_id, row.transaction.amount) == ("m, and sons", 1.5)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("payments.xlsx", b"", "must end in"),
        ("payments.parquet", b"no", "as Parquet"),
        ("payments.csv", b"", "name every column once"),
        ("payments.csv", b"id,id\n", "name every column once"),
        ("payments.csv", b"\xff\xfe\n", "UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableTable, match=says):
        read_transactions(tmp_path / name, _mapping())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        read_transactions(tmp_path / "absent.csv", _mapping())


def test_headraces_own_names_are_read_without_a_mapping(tmp_path: Path) -> None:
    table = _csv(
        tmp_path,
        "event_id,event_timestamp,card_id,merchant_id,amount,label",
        "e1,2026-01-01T00:00:00Z,c,m,1,fraud",
        "e2,2026-01-02T00:00:00Z,c,m,1,legit",
        "e3,2026-01-03T00:00:00Z,c,m,1,unknown",
    )
    assert [row.fraud for row in _read(table, guess_mapping(table))] == [True, False, None]


@pytest.mark.skipif(not HANDBOOK.is_file(), reason="the handbook's file is not beside the project (../shared/data/fdh)")
def test_the_handbooks_days_and_frauds_are_all_there() -> None:
    mapping = guess_mapping(HANDBOOK)
    start = datetime(2018, 7, 25, tzinfo=UTC)
    week = _read(HANDBOOK, mapping, start=start, end=start + timedelta(days=7))
    assert (len(week), sum(bool(row.fraud) for row in week)) == (67_240, 598)
    times = [row.transaction.event_timestamp for row in week]
    assert all(before <= after for before, after in pairwise(times))

    (first,) = _read(HANDBOOK, mapping, limit=1)
    assert first.transaction.event_timestamp == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)
    assert (first.fraud, first.label_delay) == (False, timedelta(days=7))
    first_day = _read(HANDBOOK, mapping, end=datetime(2018, 4, 2, tzinfo=UTC))
    assert len(first_day) == 9_488


def test_a_quote_that_never_closes_is_named(tmp_path: Path) -> None:
    table = _csv(tmp_path, "id,at,card,shop,sum", '"a,2026-01-01,c,m,1')
    with pytest.raises(InvalidRecord, match=r"line 2.*unterminated quote"):
        _read(table, _mapping())
