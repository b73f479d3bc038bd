"""`/widgets/…`: what a host application shows in a frame, for whoever has a signed address. No session, no cookie."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.templating import Jinja2Templates

from review.engine import CasesUnavailable
from review.web.bar_chart import BarChart, Column, bar_chart
from review.web.pace import Pace, Rate
from review.web.parts import Parts
from review.web.safe_headers import framed_by
from review.web.wording import percent
from review.widget_content import (
    Content,
    EntityRisk,
    FlagTrend,
    RecommendationLift,
    entity_risk,
    flag_trend,
    recommendation_lift,
)
from review.widget_keys import NoWidgetSecret
from review.widget_link import (
    KINDS,
    LASTS_AT_MOST_S,
    Asked,
    InvalidLink,
    NotSigned,
    checked,
    is_signed,
    whole,
)

JSON = ".json"
ADDRESS_RATE = Rate(per_s=10.0, burst=60.0)
KEY_RATE = Rate(per_s=50.0, burst=300.0)
SPAN_WORDS = {"hour": "the last hour", "day": "the last day", "week": "the last week"}
STEP_WORDS = {60: "a minute", 3600: "an hour"}
ARM_WORDS = {"model": "Models", "trending": "Trending", "random": "Random"}
CHART = (360.0, 130.0)
logger = logging.getLogger(__name__)


class WidgetPages:
    """The widgets over one store and the live dashboard's series."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self._parts = parts
        self._templates = templates
        self._addresses, self._keys = Pace(ADDRESS_RATE), Pace(KEY_RATE)

    async def page(self, request: Request) -> Response:
        """`GET /widgets/{kind}` and `/widgets/{kind}.json`: the same address but for the ending, the same signature.

        In this order: 1. the pace of who asks, 2. the signature, 3. how long it holds and whether its key does, 4. the
        pace of the key. Only who has a right signature is told anything but that it is none.
        """
        name = request.path_params["kind"]
        kind, wants_json = name.removesuffix(JSON), name.endswith(JSON)
        now = self._parts.clock()
        address = request.client.host if request.client else ""
        if wait_s := self._addresses.take(address, now.timestamp()):
            return self._no(request, 429, "that was many requests at once", wants_json, wait_s)
        asked: Asked | None = None
        try:
            parameters, signature = whole(request.query_params.multi_items())
            self._verify(kind, parameters, signature)
            asked = checked(kind, parameters)
            framed_by(request.scope, asked.ancestors)
            await self._still_holds(asked, now)
            if wait_s := self._keys.take(asked.key, now.timestamp()):
                return self._no(request, 429, "that was many requests at once", wants_json, wait_s, asked)
            content = await self._parts.off_loop(self._content, asked, now)
        except InvalidLink as error:
            return self._no(request, 400, str(error), wants_json, asked=asked)
        except NotSigned as error:
            return self._no(request, 403, str(error), wants_json, asked=asked)
        except (CasesUnavailable, NoWidgetSecret) as error:
            logger.error("a widget: %s", error)
            return self._no(request, 503, "this cannot be read right now", wants_json, 5.0, asked)
        headers = _cross_origin(request, asked)
        if wants_json:
            return Response(msgspec.json.encode(content), media_type="application/json", headers=headers)
        context = {"title": KINDS[kind], "scheme": asked.scheme, "refusal": "", "now": now, **drawn(content)}
        return self._templates.TemplateResponse(request, "widget.html", context, headers=headers)

    def _verify(self, kind: str, parameters: Mapping[str, str], signature: str) -> None:
        if kind not in KINDS:
            raise InvalidLink(f"there is no such widget; there are {', '.join(KINDS)}")
        keys = self._parts.widgets
        # With no keys, and for a key that never was, the same work is done and the same said.
        secret = "" if keys is None else keys.secret_of(parameters.get("key", ""))
        if not is_signed(kind, parameters, signature, secret) or keys is None:
            raise NotSigned("the signature is not right: the link was changed, or signed with another key")

    async def _still_holds(self, asked: Asked, now: datetime) -> None:
        left_s = asked.expires_s - now.timestamp()
        if left_s <= 0.0:
            raise NotSigned("the link has expired")
        if left_s > LASTS_AT_MOST_S:
            raise NotSigned(f"the link holds for more than {LASTS_AT_MOST_S // 86400} days, which none may")
        assert self._parts.widgets is not None
        if await self._parts.off_loop(self._parts.widgets.standing, asked.key) != "good":
            raise NotSigned("the key that signed the link was revoked")

    def _content(self, asked: Asked, now: datetime) -> Content:
        if asked.kind == "entity-risk":
            return entity_risk(self._parts.cases, asked.use_case, asked.entity, now)
        if asked.kind == "flag-trend":
            return flag_trend(self._parts.series, asked.span, now)
        return recommendation_lift(self._parts.series, asked.span, now)

    def _no(
        self,
        request: Request,
        status: int,
        sentence: str,
        wants_json: bool,
        wait_s: float = 0.0,
        asked: Asked | None = None,
    ) -> Response:
        headers = {"retry-after": str(int(wait_s) + 1)} if wait_s else {}
        if asked is not None:
            headers |= _cross_origin(request, asked)
        if wants_json:
            content = msgspec.json.encode({"error": sentence})
            return Response(content, status, headers, media_type="application/json")
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(sentence + "\n", status, headers)
        context = {"title": "Headrace", "scheme": asked.scheme if asked else "auto", "refusal": sentence}
        return self._templates.TemplateResponse(request, "widget.html", context, status, headers)


def drawn(content: Content) -> dict[str, object]:
    """What a template needs to show this."""
    if isinstance(content, EntityRisk):
        return {"content": content, "chart": _scores(content), "label": "Scores of the newest flagged events"}
    if isinstance(content, FlagTrend):
        words = {"span": SPAN_WORDS[content.span], "step": STEP_WORDS[content.step_s]}
        return {"content": content, "chart": _flags(content), "label": f"Flags {words['step']}", **words}
    return {
        "content": content,
        "chart": _clicks(content),
        "label": "Click-through by arm",
        "span": SPAN_WORDS[content.span],
        "arms": ARM_WORDS,
    }


def _scores(content: EntityRisk) -> BarChart | None:
    columns = [
        Column(
            f"{one.at:%d %b}",
            {one.outcome: one.score},
            f"{one.at:%Y-%m-%d %H:%M} UTC: {one.outcome}, score {one.score:.2f}, {one.amount:,.2f} {one.currency}",
        )
        for one in content.events
    ]
    return bar_chart(columns, *CHART, most=1.0)


def _flags(content: FlagTrend) -> BarChart | None:
    form = "%d %b" if content.span == "week" else "%H:%M"
    columns = []
    for one in content.steps:
        parts = {"decline": one.decline, "review": one.review}
        known = {kind: value for kind, value in parts.items() if value is not None}
        words = ", ".join(f"{value:,.0f} {kind}" for kind, value in known.items()) or "nobody looked"
        columns.append(Column(one.at.strftime(form), known, f"{one.at:%d %b %H:%M} UTC: {words}"))
    return bar_chart(columns, *CHART)


def _clicks(content: RecommendationLift) -> BarChart | None:
    if not any(one.shown for one in content.arms):
        return None
    columns = [
        Column(
            ARM_WORDS[one.arm],
            {} if one.share is None else {one.arm: 100 * one.share},
            f"{ARM_WORDS[one.arm]}: {percent(one.share)}, {one.acted:,} of {one.shown:,}",
        )
        for one in content.arms
    ]
    return bar_chart(columns, *CHART, unit="%")


def _cross_origin(request: Request, asked: Asked) -> dict[str, str]:
    """A script of the pages that may show it may read it too; no cookie goes with it."""
    origin = request.headers.get("origin", "")
    return {"access-control-allow-origin": origin, "vary": "origin"} if origin in asked.ancestors else {}
