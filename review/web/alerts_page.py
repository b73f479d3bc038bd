"""The page of alerts: what fires, what will, what is silenced and what happened; leads acknowledge and silence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from review.alert_book import AlertBook, moment
from review.alert_condition import Alerts
from review.alert_silence import ALL, Silences
from review.alert_watch import AlertWatch
from review.alert_words import in_time
from review.refusals import Refused
from review.series import Series
from review.series_history import SeriesHistory
from review.web.account_desk import person_of
from review.web.alert_view import alert_view
from review.web.needs import needs
from review.web.parts import Parts

SPANS = ((1, "1 hour"), (4, "4 hours"), (12, "12 hours"), (24, "1 day"), (72, "3 days"), (168, "7 days"))
DONE = {
    "acknowledge": "You know of it: nobody is reminded of this firing",
    "silence": "Silenced: no messages until it ends",
    "unsilence": "The silence is over",
}
"""What `?done=` says: words of ours alone, since anybody can make a link."""
NO_STORE = {"cache-control": "no-store"}


def alert_routes(parts: Parts) -> list[Route]:
    """`/alerts` and what is done there. With no watch the page says that there is none."""
    watch = parts.alerts or AlertWatch(Alerts(), SeriesHistory(Series()), AlertBook(parts.cases.database))
    templates = parts.templates()
    silences = Silences(watch.book.database)

    def acknowledge(form: FormData, by: str, now: datetime) -> None:
        fired_at_us = _number(form, "fired_at_us", 4_000_000_000_000_000)
        watch.book.acknowledge(_name(form), moment(fired_at_us / 1e6), by, now)

    def silence(form: FormData, by: str, now: datetime) -> None:
        name, hours = _name(form), _number(form, "hours", 24 * 30)
        if name != ALL and watch.alerts.named(name) is None:
            raise Refused(f"there is no alert {name!r}; the alerts file has another by now")
        silences.make(name, now + timedelta(hours=hours), str(form.get("why", "")), by, now)

    def unsilence(form: FormData, by: str, now: datetime) -> None:
        silences.end(_number(form, "number", 2**53), by, now)

    deeds: dict[str, Callable[[FormData, str, datetime], None]] = {
        "acknowledge": acknowledge,
        "silence": silence,
        "unsilence": unsilence,
    }

    async def page(request: Request, error: str = "", status: int = 200) -> Response:
        now = parts.clock()
        context = {
            "view": await parts.off_loop(alert_view, watch, now),
            "now": now,
            "may": person_of(request).may("lead"),
            "is_watching": watch.is_watching,
            "targets": sorted({target.label for target in watch.targets}),
            "every": in_time(watch.alerts.every_s),
            "spans": SPANS,
            "error": error,
            "done": DONE.get(request.query_params.get("done", ""), ""),
            "at": "/alerts",
        }
        return templates.TemplateResponse(request, "alerts.html", context, status, NO_STORE)

    @needs("viewer")
    async def alerts_page(request: Request) -> Response:
        return await page(request)

    @needs("viewer")
    async def pill_page(request: Request) -> Response:
        return templates.TemplateResponse(request, "alert_pill.html", {}, 200, NO_STORE)

    @needs("lead")
    async def deed_page(request: Request) -> Response:
        name = request.path_params["deed"]
        if name not in deeds:
            return await page(request, "there is no such deed", 404)
        async with request.form(max_fields=10, max_files=0) as form:
            try:
                await parts.off_loop(deeds[name], form, person_of(request).name, parts.clock())
            except Refused as error:
                return await page(request, str(error), 422)
        return RedirectResponse(f"/alerts?done={name}", 303)

    return [
        Route("/alerts", alerts_page),
        Route("/alerts/pill", pill_page),
        Route("/alerts/{deed}", deed_page, methods=["POST"]),
    ]


def _name(form: FormData) -> str:
    return str(form.get("name", ""))[:100]


def _number(form: FormData, name: str, most: int) -> int:
    text = str(form.get(name, ""))
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        raise Refused(f"{text[:40]!r} is no {name.replace('_', ' ')}")
    return int(text)
