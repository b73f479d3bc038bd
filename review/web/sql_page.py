"""`/sql`: questions to the archive, for analysts. Each is in the audit before it is run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from anyio import CancelScope
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from review.refusals import Refused
from review.sql_book import SavedQuery, SqlBook
from review.web.account_desk import person_of
from review.web.bar_chart import BarChart, Column, bar_chart
from review.web.bounded_stream import BoundedStream
from review.web.needs import needs
from review.web.off_loop import OffLoop
from review.web.parts import Parts
from stream.archive_sql import ROWS_LIMIT, Answer, ArchiveSql, QueryFailed

ROWS_FIRST = 500
CHART_ROWS = 200
THREADS = 4
FIRST = """-- Flags of each day, and how many of them turned out to be fraud
SELECT date,
       count(*) AS flags,
       count(*) FILTER (WHERE label = 'fraud') AS fraud,
       round(sum(record.amount) FILTER (WHERE outcome = 'decline'), 2) AS declined
FROM decisions
LEFT JOIN verdicts USING (event_id)
WHERE outcome <> 'approve'
GROUP BY date
ORDER BY date DESC
LIMIT 30"""


class Failed(NamedTuple):
    """What was wrong with a query, and the line of it, marked."""

    words: str
    line: int
    column: int
    text: str
    mark: str


def sql_routes(parts: Parts, templates: Jinja2Templates) -> list[Route]:
    """The console's routes."""
    console, analysts = SqlConsole(parts, templates), needs("analyst")
    return [
        Route("/sql", analysts(console.page)),
        Route("/sql", analysts(console.run), methods=["POST"]),
        Route("/sql/download", analysts(console.download), methods=["POST"]),
        Route("/sql/save", analysts(console.save), methods=["POST"]),
        Route("/sql/drop", analysts(console.drop), methods=["POST"]),
    ]


class SqlConsole:
    """The console over one archive and one store."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._templates = templates
        self._book = SqlBook(parts.cases.database)
        # Queries take seconds: threads of their own, so that no other page waits for them.
        self._off_loop = OffLoop(THREADS)

    async def page(self, request: Request) -> Response:
        """`GET /sql`, with `?run=` a run of one's own, with `?owner=&name=` a query that is kept."""
        person, asked = person_of(request), request.query_params
        text = FIRST
        if "run" in asked:
            found = await self._parts.off_loop(self._book.text_of, asked["run"], person.name)
            text = found or ""
        elif "name" in asked:
            wanted = (asked.get("owner", ""), asked["name"])
            kept = await self._parts.off_loop(self._book.saved, person.name)
            text = next((one.text for one in kept if (one.owner, one.name) == wanted), "")
        return await self._show(request, text, name=asked.get("name", ""))

    async def run(self, request: Request) -> Response:
        """`POST /sql`: the answer, below the query."""
        async with request.form(max_fields=10, max_files=0) as form:
            text, chart = str(form.get("sql", "")), "chart" in form
            rows = ROWS_LIMIT if form.get("rows") == "all" else ROWS_FIRST
        by = person_of(request).name
        try:
            answer = await self._off_loop(self._answer, text, by, rows)
        except QueryFailed as error:
            return await self._show(request, text, failed=failed(error, text), chart=chart)
        drawing = chart_of(answer) if chart else None
        return await self._show(request, text, answer=answer, chart=chart, drawing=drawing)

    async def download(self, request: Request) -> Response:
        """`POST /sql/download`: all of the answer as CSV, as it comes."""
        async with request.form(max_fields=10, max_files=0) as form:
            text = str(form.get("sql", ""))
        by, now = person_of(request).name, self._parts.clock()
        run = await self._parts.off_loop(self._book.begin, text, by, now, download=True)
        stream = _Download(self._parts, self._off_loop, self._book, run, by)
        try:
            await self._off_loop(stream.open, self._archive(), text)
        except QueryFailed as error:
            return await self._show(request, text, failed=failed(error, text))
        name = f"headrace-{now:%Y%m%d-%H%M%S}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        # Bounded: a query holds one of few turns as long as its answer is read.
        return BoundedStream(stream.parts(), media_type="text/csv; charset=utf-8", headers=headers)

    async def save(self, request: Request) -> Response:
        """`POST /sql/save`: keep a query under a name."""
        async with request.form(max_fields=10, max_files=0) as form:
            name, text, shared = str(form.get("name", "")), str(form.get("sql", "")), form.get("shared") == "true"
        query = SavedQuery(owner=person_of(request).name, name=name, text=text, shared=shared)
        try:
            await self._parts.off_loop(self._book.save, query, self._parts.clock())
        except Refused as error:
            return await self._show(request, text, problem=str(error), status=422)
        return await self._show(request, text, name=name.strip())

    async def drop(self, request: Request) -> Response:
        """`POST /sql/drop`: forget a query of one's own."""
        async with request.form(max_fields=10, max_files=0) as form:
            name = str(form.get("name", ""))
        await self._parts.off_loop(self._book.drop, person_of(request).name, name)
        return RedirectResponse("/sql", 303)

    def _archive(self) -> ArchiveSql:
        if self._parts.archive is None:
            raise QueryFailed("these pages have no archive")
        return self._parts.archive

    def _answer(self, text: str, by: str, rows: int) -> Answer:
        # 1. Note it.  2. Run it.  3. Note how it ended.  A crash within 2 leaves a run whose end nobody knows.
        run = self._book.begin(text, by, self._parts.clock())
        began_s = time.monotonic()
        try:
            answer = self._archive().run(text, rows)
        except QueryFailed as error:
            self._book.end(run, by, self._parts.clock(), time.monotonic() - began_s, wrong=str(error))
            raise
        self._book.end(run, by, self._parts.clock(), answer.took_s, len(answer.rows))
        return answer

    async def _show(
        self,
        request: Request,
        text: str,
        *,
        answer: Answer | None = None,
        failed: Failed | None = None,
        drawing: BarChart | None = None,
        chart: bool = False,
        name: str = "",
        problem: str = "",
        status: int = 200,
    ) -> Response:
        person, archive = person_of(request), self._parts.archive
        context: dict[str, Any] = {
            "at": "/sql",
            "now": self._parts.clock(),
            "sql": text,
            "answer": answer,
            "failed": failed,
            "drawing": drawing,
            "chart": chart,
            "chart_rows": CHART_ROWS,
            "name": name,
            "problem": problem,
            "rows_limit": ROWS_LIMIT,
            "archive": archive,
            "tables": [] if archive is None else await self._parts.off_loop(archive.tables),
            "saved": await self._parts.off_loop(self._book.saved, person.name),
            "history": await self._parts.off_loop(self._book.history, person.name),
        }
        return self._templates.TemplateResponse(request, "sql.html", context, status)


class _Download:
    """An answer on its way out: the child is read in threads, and ends when the page goes or the answer does."""

    def __init__(self, parts: Parts, off_loop: OffLoop, book: SqlBook, run: str, by: str) -> None:
        self._parts, self._off_loop, self._book = parts, off_loop, book
        self._run, self._by = run, by
        self._began_s = time.monotonic()
        self._open = ExitStack()
        self._source: Iterator[bytes] = iter(())

    def open(self, archive: ArchiveSql, text: str) -> None:
        """Begin. Raises `QueryFailed`."""
        try:
            self._source = self._open.enter_context(archive.download(text))
        except QueryFailed as error:
            self._end(str(error))
            raise

    async def parts(self) -> AsyncIterator[bytes]:
        """The bytes. One that fails on its way ends the connection: nobody takes a part for the whole."""
        wrong = "the page went before it had all"
        try:
            while part := await self._off_loop(next, self._source, b""):
                yield part
            wrong = ""
        except QueryFailed as error:
            wrong = str(error)
            raise
        finally:
            # Also where the page went; in a thread, since a database that is slow to write holds up no other page.
            with CancelScope(shield=True):
                await self._parts.off_loop(self._close, wrong)

    def _close(self, wrong: str) -> None:
        self._open.close()
        self._end(wrong)

    def _end(self, wrong: str) -> None:
        took_s = time.monotonic() - self._began_s
        self._book.end(self._run, self._by, self._parts.clock(), took_s, wrong=wrong)


def failed(error: QueryFailed, sql: str) -> Failed:
    """What to show of a mistake: its line, and a mark below the character.

    >>> failed(QueryFailed("no", 2, 3), "SELECT\\n  x").mark
    '  ^'
    """
    lines = sql.splitlines()
    text = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
    mark = " " * (error.column - 1) + "^" if text and 0 < error.column <= len(text) + 1 else ""
    return Failed(str(error), error.line, error.column, text, mark)


def chart_of(answer: Answer) -> BarChart | None:
    """The first column across, the second up; None where the second is no number, or one is below 0."""
    if len(answer.columns) < 2 or not answer.columns[1].number:
        return None
    columns = []
    for row in answer.rows[:CHART_ROWS]:
        value = float(row[1]) if row[1] not in (None, "nan", "inf", "-inf") else None
        if value is not None and value < 0.0:
            return None
        name = row[0] if row[0] is not None else "NULL"
        parts = {} if value is None else {"one": value}
        columns.append(Column(name if len(name) <= 12 else name[:11] + "…", parts, f"{name[:80]}: {row[1]}"))
    return bar_chart(columns, 880.0, 220.0)
