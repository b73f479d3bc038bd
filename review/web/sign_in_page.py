"""Signing in and out, and choosing a password by a one-time link."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from review.account import AccountError, DeadLink, TooManyTries, WrongPassword
from review.password_rules import LEAST_CHARACTERS, WeakPassword
from review.person import InvalidName
from review.web.account_desk import AccountDesk, Busy, caller_of, person_of
from review.web.gate import SESSION
from review.web.needs import needs
from review.web.site import HOME, local_path


def sign_in_routes(desk: AccountDesk) -> list[Route]:
    """`/sign-in`, `/sign-out` and `/set-password/{link}`."""
    accounts = desk.accounts

    def form(request: Request, next_path: str, name: str = "", error: str = "", status: int = 200) -> Response:
        provider = None if desk.provider is None else desk.provider.name
        context = {"next": next_path, "name": name, "error": error, "provider": provider, "quoted": quote(next_path)}
        return desk.show(request, "sign_in.html", context, status)

    async def sign_in_page(request: Request) -> Response:
        if request.method != "POST":
            next_path = local_path(request.query_params.get("next", ""))
            if request.state.person is not None:
                return RedirectResponse(next_path, 303)
            return form(request, next_path)
        async with request.form(max_fields=10, max_files=0) as given:
            name, password = str(given.get("name", "")), str(given.get("password", ""))
            next_path = local_path(str(given.get("next", "")))
        caller = caller_of(request)
        try:
            signed_in = await desk.hashing(accounts.sign_in.with_password, name, password, caller, desk.clock())
        except WrongPassword as error:
            return form(request, next_path, name[:64], str(error), 401)
        except TooManyTries as error:
            response = form(request, next_path, name[:64], str(error), 429)
            response.headers["retry-after"] = str(int(error.wait_s) + 1)
            return response
        except Busy as error:
            return form(request, next_path, name[:64], str(error), 503)
        if request.state.person is not None:
            await desk.off_loop(accounts.sessions.sign_out, request.state.person, caller, desk.clock())
        return desk.let_in(signed_in, next_path)

    @needs("viewer")
    async def sign_out_page(request: Request) -> Response:
        await desk.off_loop(accounts.sessions.sign_out, person_of(request), caller_of(request), desk.clock())
        response = RedirectResponse("/sign-in", 303)
        desk.site.drop_cookie(response, SESSION)
        # What the browser kept of pages goes too: the next person may press "back".
        response.headers["clear-site-data"] = '"cache"'
        return response

    async def password_page(request: Request) -> Response:
        link = request.path_params["link"]
        name, error, status = "", "", 200
        try:
            invitation = await desk.off_loop(accounts.links.look, link, desk.clock())
            if request.method == "POST":
                async with request.form(max_fields=10, max_files=0) as given:
                    name = str(given.get("name", ""))
                    password, again = str(given.get("password", "")), str(given.get("again", ""))
                if password != again:
                    raise WeakPassword("the two passwords are not the same")
                signed_in = await desk.hashing(
                    accounts.links.use, link, name, password, caller_of(request), desk.clock()
                )
                return desk.let_in(signed_in, HOME)
        except DeadLink as dead:
            return desk.refuse(request, 410, str(dead))
        except (WeakPassword, InvalidName, AccountError, Busy) as wrong:
            error, status = str(wrong), 503 if isinstance(wrong, Busy) else 422
        context = {"invitation": invitation, "name": name[:64], "error": error, "least": LEAST_CHARACTERS}
        return desk.show(request, "set_password.html", context, status)

    return [
        Route("/sign-in", sign_in_page, methods=["GET", "POST"]),
        Route("/sign-out", sign_out_page, methods=["POST"]),
        Route("/set-password/{link}", password_page, methods=["GET", "POST"]),
    ]
