"""The one way to the pages: whoever comes is somebody or is sent to sign in; only pages of ours change anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from anyio import to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from review.account import Caller
from review.accounts import Accounts
from review.engine import CasesUnavailable
from review.person import Person
from review.secret_token import TOKEN_CHARACTERS, csrf_of, is_same, new_token
from review.web.body import BodyRefused, again, field_of, read_body
from review.web.bounded_stream import Seats
from review.web.pace import Pace, Rate
from review.web.refusal import CASES_AWAY, Refuse, plain_refusal, wants_page
from review.web.site import Site, local_path
from review.web.watched_stream import watched

Clock = Callable[[], datetime]
BODY_LIMIT = 262_144
PERSON_RATE = Rate(per_s=20.0, burst=200.0)
STRANGER_RATE = Rate(per_s=5.0, burst=100.0)
STRANGERS = ("/sign-in", "/sign-in/", "/set-password/")
"""The page, and what paths begin with, for whoever is nobody yet. What is posted there has the token of a cookie."""
BY_ITSELF = "x-by-itself"
"""A header of requests that a page makes with nobody there: they keep no session awake."""
SESSION, VISITOR, DEVICE = "session", "visitor", "device"

_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Gate:
    """An ASGI application around all pages, so that none can be forgotten.

    It looks, in this order, at the host, the method, the session, the pace, the origin, the size and the form's token.
    Pages find `request.state.person` (None on pages for strangers), `.csrf` (for their forms) and `.caller`.
    `free` are paths without any of it, such as files; `untokened` may be posted by any of our pages without a token.
    """

    def __init__(
        self,
        app: ASGIApp,
        accounts: Accounts,
        site: Site,
        clock: Clock = _now,
        refuse: Refuse = plain_refusal,
        free: tuple[str, ...] = ("/static/",),
        untokened: tuple[str, ...] = ("/theme",),
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._site = site
        self._clock = clock
        self._refuse = refuse
        self._free = free
        self._untokened = untokened
        self._body_limit = body_limit
        self._persons = Pace(PERSON_RATE)
        self._strangers = Pace(STRANGER_RATE)
        self._seats = Seats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass; answer the rest."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        if self._site.is_secure:
            send = _never_without_tls(send)
        try:
            answer = await self._enter(request, receive, send)
        except CasesUnavailable as error:
            _log.error("accounts cannot be read: %s", error)
            answer = self._refuse(request, 503, CASES_AWAY, {"retry-after": "5"})
        if answer is not None:
            await answer(scope, receive, send)

    async def _enter(self, request: Request, receive: Receive, send: Send) -> Response | None:
        # Not `request.url`, which is put together from what the sender says its host is.
        path, hosts = request.scope["path"], request.headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        # This request's own: were a server to share one among all, somebody else's person could be in it.
        request.scope["state"] = state = {**request.scope.get("state", {}), "person": None}
        if not self._site.has_host(host):
            return PlainTextResponse("these pages are not served under this host; see HEADRACE_REVIEW_URL\n", 421)
        if request.method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse(
                "only GET, HEAD and POST are answered\n", 405, headers={"allow": "GET, HEAD, POST"}
            )
        if path.startswith(self._free) and request.method != "POST":
            await self._app(request.scope, receive, send)
            return None

        # 1. Who is it? Whoever is nobody pays with the address, so that junk cookies open no other bucket.
        now = self._clock()
        state["caller"] = caller = self._caller(request)
        token = self._site.cookie_of(request, SESSION)
        by_itself = BY_ITSELF in request.headers or "text/event-stream" in request.headers.get("accept", "")
        person = await self._person(token, now, awake=not by_itself)
        pace, key = (self._persons, person.session_id) if person else (self._strangers, caller.address)
        if wait_s := pace.take(key, now.timestamp()):
            headers = {"retry-after": str(int(wait_s) + 1)}
            return self._refuse(request, 429, "that was many requests at once; wait a moment", headers)
        visitor, is_new = self._visitor(request)
        state["person"], state["csrf"] = person, person.csrf if person else csrf_of(visitor)
        is_strangers = path == STRANGERS[0] or path.startswith(STRANGERS[1:])
        is_untokened = path in self._untokened

        # 2. Did one of our pages ask for it? First the origin, which costs nothing, then the token in the form.
        if request.method == "POST":
            if not self._is_ours(request, host):
                return self._refuse(request, 403, "another site's page sent this; nothing was changed", {})
            if person is None and not is_strangers and not is_untokened:
                return self._to_sign_in(request, host)
            try:
                body = await read_body(request.scope, receive, self._body_limit)
                given = request.headers.get("x-csrf-token") or field_of(
                    body, request.headers.get("content-type", ""), "csrf"
                )
            except BodyRefused as error:
                return self._refuse(request, error.status, str(error), {"connection": "close"})
            if not is_untokened and not is_same(given, state["csrf"]):
                sentence = "this page is too old to be sent; nothing was changed. Open it again and repeat"
                return self._refuse(request, 403, sentence, {})
            receive = again(body, receive)
        elif person is None and not is_strangers:
            return self._to_sign_in(request, host)

        # 3. Pass on. A stream outlives this look at the session, so it is looked at again while it lasts.
        async def is_alive() -> bool:
            try:
                current = await self._person(token, self._clock(), awake=False)
            except CasesUnavailable:
                return False  # Who cannot be known is not told more; the page asks again.
            return current is not None and person is not None and current.role == person.role

        async def with_visitor(message: Message) -> None:
            if message["type"] == "http.response.start" and person is None and is_new and is_strangers:
                cookie = Response()
                self._site.set_cookie(cookie, VISITOR, visitor)
                MutableHeaders(scope=message).append("set-cookie", cookie.headers["set-cookie"])
            await send(message)

        name = person.name if person else ""
        await watched(self._app, request.scope, receive, with_visitor, is_alive, seats=self._seats, name=name)
        return None

    async def _person(self, token: str, now: datetime, *, awake: bool) -> Person | None:
        if len(token) != TOKEN_CHARACTERS:
            return None
        return await to_thread.run_sync(lambda: self._accounts.sessions.person(token, now, awake=awake))

    def _caller(self, request: Request) -> Caller:
        address = request.client.host if request.client else ""
        return Caller(address, request.headers.get("user-agent", "")[:200], self._site.cookie_of(request, DEVICE))

    def _visitor(self, request: Request) -> tuple[str, bool]:
        visitor = self._site.cookie_of(request, VISITOR)
        return (visitor, False) if len(visitor) == TOKEN_CHARACTERS else (new_token(), True)

    def _is_ours(self, request: Request, host: str) -> bool:
        """Whether the browser says that a page of ours sends this; where it says nothing, the token must do."""
        origin = request.headers.get("origin")
        if origin is not None:
            return self._site.has_origin(origin, host)
        return request.headers.get("sec-fetch-site", "same-origin") == "same-origin"

    def _to_sign_in(self, request: Request, host: str) -> Response:
        """To the form, and from there to where the person is now."""
        query = request.scope["query_string"].decode("latin-1")
        here = quote(request.scope["path"]) + (f"?{query}" if query else "")
        if request.method != "GET" or not wants_page(request):
            came_from = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer", ""))
            is_ours = self._site.has_origin(f"{came_from.scheme}://{came_from.netloc}", host)
            here = came_from._replace(scheme="", netloc="", fragment="").geturl() if is_ours else ""
        address = f"/sign-in?next={quote(local_path(here), safe='/')}"
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={"hx-redirect": address})
        if not wants_page(request):
            return PlainTextResponse("sign in first\n", 401)
        return RedirectResponse(address, 303)


def _never_without_tls(send: Send) -> Send:
    """Tell browsers that came by https never to come without."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["strict-transport-security"] = "max-age=31536000"
        await send(message)

    return sent
