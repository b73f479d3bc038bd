"""What the pages of accounts share: their stores, and how they answer, refuse and let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from review.account import Caller
from review.accounts import Accounts
from review.admission import DEVICE_LASTS, SignedIn
from review.oidc import Provider
from review.person import Person
from review.web.gate import DEVICE, SESSION, VISITOR
from review.web.off_loop import OffLoop
from review.web.refusal import refusal_pages
from review.web.site import Site

HASHES = 2
"""Passwords hashed at once: each takes 64 MiB and all the cores it finds."""
HASHES_WAITING = 20
ASKED = 4
"""Questions to the sign-in provider at once, in threads of their own: one that hangs holds up no other page."""
ASKED_WAITING = 20

P = ParamSpec("P")
T = TypeVar("T")


class Busy(RuntimeError):
    """Too many wait for their password to be looked at, or for the provider."""


@dataclass
class AccountDesk:
    """The stores, the clock and the templates of the pages of accounts; `provider` where people sign in by OIDC."""

    accounts: Accounts
    site: Site
    templates: Jinja2Templates
    clock: Callable[[], datetime]
    off_loop: OffLoop = field(default_factory=OffLoop)
    provider: Provider | None = None
    _hashing: OffLoop = field(default_factory=lambda: OffLoop(HASHES))
    _asking: OffLoop = field(default_factory=lambda: OffLoop(ASKED))

    async def hashing(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that hashes a password, a few at a time. Raises `Busy` rather than let a flood of them wait."""
        return await _one_of(self._hashing, HASHES_WAITING)(call, *args, **kwargs)

    async def asking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that asks the provider. Raises `Busy` likewise: anybody can have it asked."""
        return await _one_of(self._asking, ASKED_WAITING)(call, *args, **kwargs)

    def show(self, request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
        """A page. It shows what is somebody's alone, so nothing on the way may keep it."""
        headers = {"cache-control": "no-store"}
        context = {"now": self.clock(), "csrf": request.state.csrf, **context}
        return self.templates.TemplateResponse(request, template, context, status, headers)

    def refuse(self, request: Request, status: int, sentence: str) -> Response:
        """Say no."""
        return refusal_pages(self.templates)(request, status, sentence, {"cache-control": "no-store"})

    def let_in(self, signed_in: SignedIn, path: str) -> Response:
        """Go on, with the cookies of a new session."""
        response = RedirectResponse(path, 303)
        self.site.set_cookie(response, SESSION, signed_in.session)
        if signed_in.device:
            self.site.set_cookie(response, DEVICE, signed_in.device, max_age_s=int(DEVICE_LASTS.total_seconds()))
        self.site.drop_cookie(response, VISITOR)
        return response


def _one_of(threads: OffLoop, most: int) -> OffLoop:
    if threads.inside >= most:
        raise Busy("many people are signing in at once; try again in some seconds")
    return threads


def person_of(request: Request) -> Person:
    """Who asks, on pages that `needs` guards."""
    person = request.state.person
    assert isinstance(person, Person)
    return person


def caller_of(request: Request) -> Caller:
    """Where it comes from."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller
