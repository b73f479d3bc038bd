"""The SQL console's page: what it shows, whom it lets in, and that no query is run unseen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from review.case_store import CaseStore
from review.refusals import Refused
from review.sql_book import SavedQuery, SqlBook
from review.sql_tables import RUNS
from review.web.app import make_app
from review.web.sql_page import chart_of
from stream.archive import Archive
from stream.archive_sql import SQL_LIMIT, Answer, ArchiveSql, Column
from stream.log import Entry, Partition
from stream.records import encode
from tests.review.flagged import HOSTILE
from tests.review.office import NOON, Desk, Office
from tests.stream.keeping import decided
from tests.until import LIMIT_S


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("console")
    with Archive(folder / "archive") as archive:
        records = [decided(number, definition_hash=HOSTILE) for number in range(600)]
        archive.write("log", {Partition("decisions", 0): [Entry(n, "k", encode(one)) for n, one in enumerate(records)]})
    with closing(Office(folder / "review.sqlite")) as opened:
        opened.parts = replace(opened.parts, archive=ArchiveSql(folder / "archive", seconds=LIMIT_S))
        opened.app = make_app(opened.parts)
        yield opened


@pytest.fixture
def desk(office: Office) -> Desk:
    found = office.desk("ann")
    found.get("/sql")
    return found


def audit(office: Office) -> list[tuple[str, str, str]]:
    with office.cases.database.reading() as db:
        rows = db.execute(select(RUNS).order_by(RUNS.c.number)).all()
    return [(row.by, row.deed, row.text) for row in rows]


def test_an_analyst_asks_and_sees_rows_a_chart_and_what_was_asked_of_late(office: Office, desk: Desk) -> None:
    sql = "SELECT record.card_id AS card, count(*) AS events, any_value(definition_hash) FROM decisions GROUP BY 1"
    page = desk.send("/sql", sql=sql, chart="on").text
    assert "7 rows" in page and '<th scope="col" class="n">events' in page
    assert re.search(r"<td>card-3</td><td class=\"n\">86</td>", page)
    assert page.count('class="b-one"') == 7
    assert "<script>alert" not in page and HOSTILE[:20] in unescape(page)
    assert audit(office)[-2:] == [("ann", "asked", sql), ("ann", "answered", "")]
    again = re.search(r'href="(/sql\?run=[0-9a-f]+)"', desk.page_text())
    assert again is not None
    assert sql in unescape(desk.get(again[1]).text)
    assert sql not in unescape(office.desk("bob").get(again[1]).text)


def test_a_page_has_the_first_rows_and_a_download_all_of_them(desk: Desk) -> None:
    page = desk.send("/sql", sql="SELECT event_id FROM decisions").text
    assert "500 rows shown, there are more" in page and "Show up to 10,000" in page
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token is not None
    form = {"csrf": token[1], "sql": "SELECT event_id FROM decisions"}
    answer = desk.client.post("/sql/download", data=form)
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    assert len(answer.text.splitlines()) == 601


def test_a_mistake_is_marked_at_its_character_and_kept_in_the_audit(office: Office, desk: Desk) -> None:
    page = desk.send("/sql", sql="SELECT event_id,\n  amout\nFROM decisions").text
    assert 'data-line="2" data-column="3"' in page
    assert "  amout\n  ^</pre>" in page
    by, deed, words = audit(office)[-1]
    assert (by, deed, "amout" in words) == ("ann", "failed", True)
    page = desk.send("/sql", sql="COPY decisions TO '/tmp/x'").text
    assert "Only a statement that reads is run" in page


def test_no_part_of_a_query_that_runs_is_missing_in_the_audit(office: Office, desk: Desk) -> None:
    long = f"-- {'x' * (SQL_LIMIT - 30)}\nSELECT 7 AS seven"
    assert "seven" in desk.send("/sql", sql=long).text
    assert audit(office)[-2:] == [("ann", "asked", long), ("ann", "answered", "")]
    assert f"{SQL_LIMIT:,} are read" in desk.send("/sql", sql=f"-- {'x' * SQL_LIMIT}\nSELECT 7").text


def test_the_end_of_a_download_is_noted_beside_the_loop_that_answers(
    office: Office, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, loops = SqlBook.end, list[object]()

    def noted(book: SqlBook, *args: Any, **options: Any) -> None:
        loops.append(asyncio._get_running_loop())
        note(book, *args, **options)

    monkeypatch.setattr(SqlBook, "end", noted)
    token = re.search(r'name="csrf" value="([^"]+)"', desk.page_text())
    assert token is not None
    assert desk.client.post("/sql/download", data={"csrf": token[1], "sql": "SELECT 1 AS one"}).text.split() == [
        "one",
        "1",
    ]
    assert loops == [None] and audit(office)[-1][:2] == ("ann", "answered")


def test_what_was_run_stays_as_it_was(office: Office) -> None:
    SqlBook(office.cases.database).begin("SELECT 1", "ann", NOON)
    for statement in (delete(RUNS), update(RUNS).values(text="")):
        with pytest.raises(DBAPIError, match="append-only"), office.cases.database.writing() as db:
            db.execute(statement)


def test_only_analysts_are_let_in_and_others_see_no_way_there(office: Office) -> None:
    viewer = office.desk("vic", "viewer")
    assert viewer.get("/sql").status_code == 403
    assert 'href="/sql"' not in viewer.get("/review").text
    assert 'href="/sql"' in office.desk("ann").get("/review").text


def test_queries_are_kept_for_oneself_or_for_all(office: Office, desk: Desk) -> None:
    token = re.search(r'name="csrf" value="([^"]+)"', desk.page_text())
    assert token is not None
    for name, shared in (("mine", ""), (HOSTILE[:40], "true")):
        form = {"csrf": token[1], "sql": f"SELECT '{name}'", "name": name, "shared": shared}
        assert desk.client.post("/sql/save", data=form).status_code == 200
    other = office.desk("bob").get("/sql").text
    assert ">mine</a>" not in other and "<script>alert" not in other and HOSTILE[:30] in unescape(other)
    assert "SELECT &#39;mine&#39;" in desk.get("/sql?owner=ann&name=mine").text
    desk.send("/sql/drop", name="mine")
    assert ">mine</a>" not in desk.get("/sql").text
    with pytest.raises(Refused, match="needs a name"):
        SqlBook(office.cases.database).save(SavedQuery(owner="ann", name=" ", text="x", shared=False), NOON)


def test_a_chart_is_drawn_of_numbers_from_0_up_only() -> None:
    columns = [Column("day", "string", False), Column("n", "int64", True)]
    assert chart_of(Answer(columns, [["a", "2"], [None, None], ["b", "0.5"]], False, 0.1)) is not None
    assert chart_of(Answer(columns, [["a", "-2"]], False, 0.1)) is None
    assert chart_of(Answer(columns[:1], [["a"]], False, 0.1)) is None
    assert chart_of(Answer(columns[::-1], [["1", "a"]], False, 0.1)) is None


def test_without_an_archive_the_page_says_where_one_comes_from(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        assert "headrace archive" in office.desk("ann").get("/sql").text


def test_the_book_keeps_queries_and_runs_on_either_database(store: CaseStore) -> None:
    book = SqlBook(store.database)
    run = book.begin("SELECT 1", "ann", NOON)
    lost = book.begin("SELECT 2", "ann", NOON, download=True)
    book.end(run, "ann", NOON, took_s=0.25, rows=1)
    assert [(one.text, one.ended, one.rows, one.took_ms) for one in book.history("ann")] == [
        ("SELECT 2", None, None, None),
        ("SELECT 1", "answered", 1, 250),
    ]
    assert book.history("bob") == []
    assert (book.text_of(lost, "ann"), book.text_of(lost, "bob")) == ("SELECT 2", None)
    for text in ("SELECT 3", "SELECT 4"):
        book.save(SavedQuery(owner="ann", name="mine", text=text, shared=True), NOON)
    assert [(one.owner, one.text) for one in book.saved("bob")] == [("ann", "SELECT 4")]
    book.drop("bob", "mine")
    assert len(book.saved("ann")) == 1
