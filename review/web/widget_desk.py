"""`/widgets`: where leads have a widget's address signed and see it, and admins make and end keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from review.refusals import Refused
from review.web.account_desk import person_of
from review.web.needs import needs
from review.web.parts import Parts
from review.web.widget_page import WidgetPages
from review.widget_keys import NoWidgetSecret, WidgetKeys
from review.widget_link import KINDS, OWN, SCHEMES, SPANS, InvalidLink, origins, signed_path

LASTS = ((1, "1 hour"), (24, "1 day"), (72, "3 days"), (168, "7 days"))
PREVIEW_LASTS = timedelta(minutes=10)
HEIGHTS = {"entity-risk": 280, "flag-trend": 255, "recommendation-lift": 255}


def widget_routes(parts: Parts, templates: Jinja2Templates) -> list[Route]:
    """The page of people, and the widgets, which are for whoever has a signed address."""
    desk, pages = WidgetDesk(parts, templates), WidgetPages(parts, templates)
    leads, admins = needs("lead"), needs("admin")
    return [
        Route("/widgets", leads(desk.page)),
        Route("/widgets", leads(desk.sign), methods=["POST"]),
        Route("/widgets/keys", admins(desk.make_key), methods=["POST"]),
        Route("/widgets/revoke", admins(desk.end_key), methods=["POST"]),
        Route("/widgets/{kind}", pages.page),
    ]


class WidgetDesk:
    """The page over one store's keys."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._templates = templates

    async def page(self, request: Request) -> Response:
        """`GET /widgets?kind=…`: the form of one kind."""
        return await self._show(request, _kind(request.query_params.get("kind", "")))

    async def sign(self, request: Request) -> Response:
        """`POST /widgets`: an address, what to paste, and how it looks."""
        now = self._parts.clock()
        async with request.form(max_fields=12, max_files=0) as form:
            kind = _kind(str(form.get("kind", "")))
            given = {
                name: str(form.get(name, "")).strip() for name in ("key", "ancestors", "theme", "hours", *OWN[kind])
            }
        try:
            made = await self._parts.off_loop(self._signed, request, kind, dict(given), now)
        except (InvalidLink, Refused, NoWidgetSecret) as error:
            return await self._show(request, kind, given, error=str(error), status=422)
        return await self._show(request, kind, given, **made)

    async def make_key(self, request: Request) -> Response:
        """`POST /widgets/keys`: a key, with its secret this once."""
        form = await request.form()
        kind = _kind(_text(form, "kind"))
        try:
            by, now = person_of(request).name, self._parts.clock()
            key, secret = await self._parts.off_loop(self._keys().make, _text(form, "name"), by, now)
        except (Refused, NoWidgetSecret) as error:
            return await self._show(request, kind, error=str(error), status=422)
        return await self._show(request, kind, {"key": key.key_id}, new_key=key, secret=secret)

    async def end_key(self, request: Request) -> Response:
        """`POST /widgets/revoke`: what it signed is refused from now on."""
        form = await request.form()
        try:
            by, now = person_of(request).name, self._parts.clock()
            await self._parts.off_loop(self._keys().revoke, _text(form, "key"), by, now)
        except Refused as error:
            return await self._show(request, "entity-risk", error=str(error), status=422)
        return RedirectResponse("/widgets", 303)

    def _keys(self) -> WidgetKeys:
        if self._parts.widgets is None:
            raise Refused("these pages have no secret to sign widgets with; run 'headrace review serve'")
        return self._parts.widgets

    def _signed(self, request: Request, kind: str, given: dict[str, str], now: datetime) -> dict[str, Any]:
        keys = self._keys()
        if keys.standing(given["key"]) != "good":
            raise Refused("choose a key that signs")
        hours = given.pop("hours")
        if hours not in {str(number) for number, _ in LASTS}:
            raise Refused(f"{hours[:10]!r} is none of the times that can be chosen")
        until = now + timedelta(hours=int(hours))
        host, secret = request.headers.get("host", ""), keys.secret_of(given["key"])
        chosen = {name: value for name, value in given.items() if value}
        chosen["ancestors"] = " ".join(origins(given["ancestors"].lower()))
        path = signed_path(kind, chosen | {"expires": str(int(until.timestamp()))}, secret)
        # For this page alone, and not for long.
        ours = {"ancestors": self._parts.site.url("", host), "expires": str(int((now + PREVIEW_LASTS).timestamp()))}
        preview = signed_path(kind, chosen | ours, secret)
        keys.note(given["key"], kind, chosen["ancestors"].split(), until, person_of(request).name, now)
        return {"link": self._parts.site.url(path, host), "preview": preview, "until": until.astimezone(UTC)}

    async def _show(
        self,
        request: Request,
        kind: str,
        given: dict[str, str] | None = None,
        error: str = "",
        status: int = 200,
        **made: Any,
    ) -> Response:
        widgets = self._parts.widgets
        keys = [] if widgets is None else await self._parts.off_loop(widgets.all)
        links = [] if widgets is None else await self._parts.off_loop(widgets.made)
        nothing = {"link": "", "preview": "", "until": None, "new_key": None, "secret": ""}
        context = {
            "at": "/widgets",
            "now": self._parts.clock(),
            "kind": kind,
            "kinds": KINDS,
            "own": OWN[kind],
            "spans": SPANS,
            "schemes": SCHEMES,
            "lasts": LASTS,
            "height": HEIGHTS[kind],
            "given": given or {},
            "keys": keys,
            "links": links,
            "can_sign": widgets is not None,
            "may_make": person_of(request).may("admin"),
            "error": error,
            **nothing,
            **made,
        }
        return self._templates.TemplateResponse(request, "widgets.html", context, status)


def _kind(text: str) -> str:
    return text if text in KINDS else "entity-risk"


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, ""))[:200]
