"""To the OIDC provider and back."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from review.account import AccountError
from review.oidc import FLOW_LASTS, Provider
from review.oidc_provider import ProviderUnavailable
from review.person import InvalidName
from review.web.account_desk import AccountDesk, Busy, caller_of
from review.web.site import local_path

BEGIN, BACK = "/sign-in/provider", "/sign-in/provider/back"
FLOW = "provider"

_log = logging.getLogger(__name__)


def provider_routes(desk: AccountDesk, provider: Provider) -> list[Route]:
    """`/sign-in/provider` and its way back.

    The first is a link and no form: the content security policy lets no form lead away, not by a redirect either.
    """

    async def begin_page(request: Request) -> Response:
        next_path = local_path(request.query_params.get("next", ""))
        try:
            begun = await desk.asking(provider.begin, next_path, _back(desk, request), desk.clock())
        except (ProviderUnavailable, Busy) as error:
            return _unavailable(desk, request, error)
        response = RedirectResponse(begun.address, 303)
        desk.site.set_cookie(response, FLOW, begun.cookie, max_age_s=int(FLOW_LASTS.total_seconds()))
        return response

    async def back_page(request: Request) -> Response:
        now, caller = desk.clock(), caller_of(request)
        cookie = desk.site.cookie_of(request, FLOW)
        try:
            query = dict(request.query_params)
            vouched, next_path = await desk.asking(provider.finish, query, cookie, _back(desk, request), now)
            signed_in = await desk.off_loop(desk.accounts.sign_in.vouched, vouched, caller, now)
        except (ProviderUnavailable, Busy) as error:
            response = _unavailable(desk, request, error)
        except (AccountError, InvalidName) as error:
            _log.warning("a sign-in with the provider from %s is refused: %s", caller.address, error)
            response = desk.refuse(request, 403, str(error))
        else:
            if request.state.person is not None:
                await desk.off_loop(desk.accounts.sessions.sign_out, request.state.person, caller, now)
            response = desk.let_in(signed_in, local_path(next_path))
        desk.site.drop_cookie(response, FLOW)
        return response

    return [Route(BEGIN, begin_page), Route(BACK, back_page)]


def _back(desk: AccountDesk, request: Request) -> str:
    return desk.site.url(BACK, request.headers["host"])


def _unavailable(desk: AccountDesk, request: Request, error: ProviderUnavailable | Busy) -> Response:
    _log.error("the OIDC provider cannot be used: %s", error)
    return desk.refuse(request, 503, "the sign-in provider does not answer; try again soon, or ask an admin")
