"""`/`: the live dashboard, `/dashboard/events` that moves it and `/dashboard/series` that it draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from review.collector import Collector, Tick
from review.series import Series
from review.series_table import row_of
from review.web.bounded_stream import BoundedStream
from review.web.dashboard_charts import CHARTS, DRAWN, RANGE_NAMES, RANGES_S, matches
from review.web.dashboard_stream import Ticks, stream_of
from review.web.dashboard_view import Tile, tiles_of
from review.web.needs import needs
from review.web.parts import Parts

NAMES_LIMIT = 100
DEFAULT_RANGE = "15m"


class InvalidQuestion(ValueError):
    """The address asks for series that cannot be. The text says what may be asked."""


def dashboard_routes(parts: Parts, templates: Jinja2Templates) -> list[Route]:
    """The routes of the live dashboard: for every role."""
    page, looks = DashboardPage(parts, templates), needs("viewer")
    return [
        Route("/", looks(page.page)),
        Route("/dashboard/series", looks(page.series)),
        Route("/dashboard/events", looks(page.events)),
    ]


class DashboardPage:
    """The pages over one collector; without one they say how to get it."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._templates = templates
        self._collector: Collector | None = parts.collector
        self._history = parts.series
        self._ticks: Ticks | None = None
        if self._collector is not None and self._history is not None:
            self._ticks = Ticks(self._collector, self._history, parts.cases)

    async def page(self, request: Request) -> Response:
        """`GET /`: the newest numbers, written by the server; a script moves them."""
        chosen = request.query_params.get("range", DEFAULT_RANGE)
        chosen = chosen if chosen in RANGES_S else DEFAULT_RANGE
        context = {
            "at": "/",
            "ranges": RANGE_NAMES,
            "seconds": RANGES_S,
            "chosen": chosen,
            "charts": [chart.content() for chart in CHARTS],
            "is_there": self._ticks is not None,
            **await self._shown(),
        }
        return self._templates.TemplateResponse(request, "dashboard.html", context)

    async def series(self, request: Request) -> Response:
        """`GET /dashboard/series?name=…&range=…` or `&since=…`: times and values, null where nobody could say."""
        if self._history is None:
            return PlainTextResponse("no service is asked; set HEADRACE_REVIEW_SERVICE\n", 404)
        now_s = self._now_s()
        try:
            known = await self._parts.off_loop(self._history.names)
            names, since_s = asked(request, known, now_s)
        except InvalidQuestion as error:
            return PlainTextResponse(f"{error}\n", 400)
        columns = await self._parts.off_loop(self._history.columns, names, since_s, now_s)
        values = {
            name: [None if one is None else float(f"{one:.6g}") for one in column]
            for name, column in columns.values.items()
            if any(one is not None for one in column)
        }
        units = {name: row.unit for name in values if (row := row_of(name))}
        content = msgspec.json.encode({"t": columns.at_s, "v": values, "units": units, "since": since_s, "now": now_s})
        return Response(content, media_type="application/json")

    async def events(self, request: Request) -> Response:
        """`GET /dashboard/events`: a stream of ticks, or 503 where too many listen."""
        if self._ticks is None:
            return PlainTextResponse("no service is asked; set HEADRACE_REVIEW_SERVICE\n", 404)
        if self._ticks.is_full:
            return PlainTextResponse("as many pages listen as may; close some\n", 503, headers={"retry-after": "10"})
        came_with = request.headers.get("last-event-id") or request.query_params.get("after", "")
        after_ms = int(came_with) if came_with.isascii() and came_with.isdigit() and len(came_with) < 16 else None
        return BoundedStream(stream_of(self._ticks, after_ms), headers={"x-accel-buffering": "no"})

    async def _shown(self) -> dict[str, object]:
        if self._ticks is None or self._collector is None:
            nothing: list[object] = []
            tiles = [tile._asdict() for tile in _empty_tiles()]
            return {"tiles": tiles, "models": nothing, "drifted": nothing, "trouble": "", "after_ms": 0}
        self._collector.watched()
        tick: Tick = self._collector.newest
        shown = await self._parts.off_loop(self._ticks.shown, tick)
        return {**shown, "after_ms": round(tick.at_s * 1000)}

    def _now_s(self) -> float:
        """The time of the newest look, which is the end of every chart."""
        newest_s = self._collector.newest.at_s if self._collector else 0.0
        return newest_s or self._parts.clock().timestamp()


def asked(request: Request, known: Sequence[str], now_s: float) -> tuple[Sequence[str], float]:
    """Names and beginning of what an address asks for. Raises `InvalidQuestion`."""
    wanted = request.query_params.getlist("name")[:NAMES_LIMIT] or list(DRAWN)
    if unknown := next((name for name in wanted if row_of(name) is None), None):
        raise InvalidQuestion(f"there is no series {unknown[:60]!r}; there are {', '.join(DRAWN[:5])} and others")
    names = [name for name in known if any(matches(name, pattern) for pattern in wanted)][:NAMES_LIMIT]
    chosen, since = request.query_params.get("range", DEFAULT_RANGE), request.query_params.get("since")
    if since is None:
        if chosen not in RANGES_S:
            raise InvalidQuestion(f"{chosen[:20]!r} is no range; give one of {', '.join(RANGES_S)}")
        return names, now_s - RANGES_S[chosen]
    try:
        since_s = float(since)
    except ValueError:
        since_s = math.nan
    if not math.isfinite(since_s):
        raise InvalidQuestion(f"{since[:20]!r} is no time; give seconds since 1970")
    return names, min(max(since_s, now_s - max(RANGES_S.values())), now_s)


def _empty_tiles() -> list[Tile]:
    return tiles_of({}, Series(2, 1), 0.0)
