"""SQL over the archive: what it answers, where it ends, and what it lets nobody do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic

import duckdb
import pytest

from stream import archive_sql_child
from stream.archive import Archive
from stream.archive_file import ArchiveFile
from stream.archive_sql import Answer, ArchiveSql, QueryFailed, _Child, each_once
from stream.log import Entry, Partition
from stream.records import Label, Record, Transaction, encode
from tests.stream.keeping import decided
from tests.until import LIMIT_S

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SLOW = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"
LARGE = "SELECT list(range::VARCHAR || 'long enough to need room') FROM range(60000000)"


def entries(records: Sequence[Record]) -> list[Entry]:
    return [Entry(offset=number, key="k", value=encode(record)) for number, record in enumerate(records)]


def payment(number: int) -> Transaction:
    at = NOON + timedelta(hours=9 * number)
    merchant = "=cmd|' /C calc'!A0" if number == 3 else "m"
    return Transaction(
        event_id=f"e{number}", event_timestamp=at, card_id=f"c{number % 3}", merchant_id=merchant, amount=1.5 * number
    )


def label(number: int, verdict: str, minute: int) -> Label:
    return Label(
        event_id=f"e{number}",
        label=verdict,  # type: ignore[arg-type]
        labelled_at=NOON + timedelta(minutes=minute),
        source="analyst:ann",
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    with Archive(folder) as archive:
        archive.write(
            "log",
            {
                Partition("transactions", 0): entries([payment(number) for number in range(8)]),
                Partition("decisions", 0): entries([decided(number) for number in range(4)]),
                Partition("labels", 0): entries([label(1, "legit", 1), label(1, "fraud", 9), label(2, "legit", 2)]),
            },
        )
    return folder


@pytest.fixture(scope="module")
def archive(directory: Path) -> ArchiveSql:
    return ArchiveSql(directory, seconds=LIMIT_S)


def fails(archive: ArchiveSql, sql: str) -> QueryFailed:
    with pytest.raises(QueryFailed) as caught:
        archive.run(sql)
    return caught.value


def test_archived_records_are_tables_with_their_days_and_newest_verdicts(archive: ArchiveSql) -> None:
    found = archive.run(
        "SELECT date, count(*) AS n, sum(amount) AS total, max(event_timestamp) AS last\n"
        "FROM transactions LEFT JOIN verdicts USING (event_id) GROUP BY date ORDER BY date"
    )
    assert [(one.name, one.number) for one in found.columns] == [
        ("date", False),
        ("n", True),
        ("total", True),
        ("last", False),
    ]
    assert found.rows[0] == ["2026-01-02", "2", "1.5", "2026-01-02 21:00:00"]
    assert sum(int(row[1] or 0) for row in found.rows) == 8
    everything = archive.run(
        "SELECT (SELECT list(label ORDER BY event_id) FROM verdicts), (SELECT count(*) FROM slates), "
        "(SELECT record.amount FROM decisions WHERE event_id = 'e2'), NULL, 'e1' IN (SELECT event_id FROM labels)"
    )
    assert everything.rows == [['["fraud", "legit"]', "0", "3.0", None, "true"]]


def test_an_answer_is_cut_where_one_says_and_tells_that_there_is_more(archive: ArchiveSql) -> None:
    found: Answer = archive.run("FROM range(100000000000)", rows=20)
    assert (len(found.rows), found.more) == (20, True)
    assert not archive.run("EXPLAIN ANALYZE SELECT count(*) FROM labels").more


def test_a_mistake_is_told_with_its_line_and_column(archive: ArchiveSql) -> None:
    wrong = fails(archive, "SELECT event_id,\n       amont\nFROM transactions")
    assert (wrong.line, wrong.column) == (2, 8)
    assert "amont" in str(wrong) and "amount" in str(wrong)
    wrong = fails(archive, "SELECT 'ü', *\nFORM transactions")
    assert (wrong.line, wrong.column) == (2, 6)
    assert "nothing to run" in str(fails(archive, " -- nothing"))


@pytest.fixture(scope="module")
def opened(archive: ArchiveSql) -> Iterator[duckdb.DuckDBPyConnection]:
    """What the child opens, in this process: attacks by the dozen, without a process for each."""
    with closing(archive_sql_child._opened(archive._views(), 512 * 1024 * 1024)) as database:
        yield database


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("COPY (SELECT 1) TO '{out}'", "this is COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "this is COPY"),
        ("/* */ EXPLAIN (ANALYZE) CREATE TABLE t AS SELECT 1", "this is CREATE"),
        ("EXPORT DATABASE '{out}'", "this is EXPORT"),
        ("ATTACH '{out}' AS other", "this is ATTACH"),
        ("SET enable_external_access = true", "this is SET"),
        ("RESET lock_configuration", "this is SET"),
        ("PRAGMA database_list", "this is PRAGMA"),
        ("CALL pragma_version()", "this is CALL"),
        ("INSTALL httpfs", "this is LOAD"),
        ("LOAD httpfs", "this is LOAD"),
        ("SELECT 1; COPY labels TO '{out}'", "one statement at a time; this is 2"),
        ("PIVOT labels ON label", "several statements"),
    ],
)
def test_only_a_statement_that_reads_is_run(
    opened: duckdb.DuckDBPyConnection, tmp_path: Path, sql: str, words: str
) -> None:
    with pytest.raises(archive_sql_child.Refused, match=words):
        archive_sql_child._check(opened, sql.format(out=tmp_path / "out"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "FROM glob('/etc/*')",
        "FROM sniff_csv('/etc/passwd')",
        "FROM query_table('/etc/passwd')",
        "FROM read_parquet('{archive}/*/*/*.parquet')",
        "FROM read_csv('https://example.org/x.csv')",
        "FROM query($$COPY labels TO '{out}'$$)",
        "FROM arrow_scan(1, 2, 3)",
        "FROM directory",
        # What the look at the statement refuses would fail without it too.
        "COPY (SELECT 1) TO '{out}'",
        "COPY (SELECT 1) TO '{archive}/labels/x.parquet'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}' AS other",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET memory_limit = '64GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ],
)
def test_duckdb_itself_opens_no_file_loads_nothing_and_keeps_its_limits(
    opened: duckdb.DuckDBPyConnection, directory: Path, tmp_path: Path, sql: str
) -> None:
    before = sorted((path, path.stat().st_size) for path in directory.rglob("*"))
    with pytest.raises(duckdb.Error):
        opened.execute(sql.format(out=tmp_path / "out", archive=directory)).fetchall()
    assert not (tmp_path / "out").exists()
    assert sorted((path, path.stat().st_size) for path in directory.rglob("*")) == before


def test_a_refusal_reaches_whoever_asked(archive: ArchiveSql) -> None:
    assert "only a statement that reads is run" in str(fails(archive, "COPY labels TO '/tmp/x'"))


def test_a_query_that_takes_too_long_is_stopped_and_leaves_no_process(directory: Path) -> None:
    began_s = monotonic()
    quick = ArchiveSql(directory, seconds=1.5)
    assert "stopped after 1.5 s" in str(fails(quick, SLOW))
    assert monotonic() - began_s < LIMIT_S
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not [pid for pid in children.read_text().split() if "archive_sql_child" in _command(pid)]


def test_a_query_that_has_ended_itself_while_nobody_looked_took_too_long() -> None:
    with _Child(b"", 0.0, 1) as child:
        assert "stopped after 0 s" in str(child.ended())


def test_a_query_that_wants_too_much_memory_is_told_so(directory: Path) -> None:
    small = ArchiveSql(directory, seconds=LIMIT_S, memory_bytes=64 * 1024 * 1024)
    assert "more than 64 MB of memory" in str(fails(small, LARGE))


def test_the_child_knows_nothing_of_our_secrets(archive: ArchiveSql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CASES", "postgresql://ann:secret@db/cases")
    seen: list[dict[str, str]] = []
    with archive._child("SELECT 1", rows=1, csv=False) as (_, child):
        content = Path(f"/proc/{child._process.pid}/environ").read_bytes()
        seen = [dict([line.split("=", 1)]) for line in content.decode().split("\0") if line]
    assert seen and not any("HEADRACE" in name for one in seen for name in one)


def test_a_download_is_all_of_it_as_csv_without_formulas(archive: ArchiveSql) -> None:
    with archive.download(
        "SELECT event_id, merchant_id, amount, -amount AS less, '＝1' AS \"+wide\" FROM transactions ORDER BY 1"
    ) as parts:
        lines = b"".join(parts).decode().splitlines()
    assert lines[:2] == ["event_id,merchant_id,amount,less,'+wide", "e0,m,0.0,-0.0,'＝1"]
    assert lines[4] == "e3,'=cmd|' /C calc'!A0,4.5,-4.5,'＝1"
    assert len(lines) == 9
    with pytest.raises(QueryFailed, match="no_such"), archive.download("SELECT no_such"):
        pass


def test_records_are_there_once_while_their_files_are_being_merged() -> None:
    def file(first: int, last: int, log: str = "l") -> ArchiveFile:
        return ArchiveFile(Path(f"{first}-{last}"), date(2026, 1, 2), log, Partition("labels", 0), first, last)

    found = each_once([file(0, 4), file(5, 9), file(0, 9), file(10, 12), file(0, 3, "other")])
    assert sorted((one.log, one.first, one.last) for one in found) == [("l", 0, 9), ("l", 10, 12), ("other", 0, 3)]


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
