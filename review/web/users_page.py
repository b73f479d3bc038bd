"""Admins' page of all accounts: invite, give roles, turn off, help back in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from review.account import AccountError, UnknownAccount
from review.person import ROLES, InvalidName, Role, is_role
from review.web.account_desk import AccountDesk, person_of
from review.web.needs import needs

ENTRIES_SHOWN = 100
DONE = {
    "role": "the role is changed, from their next click on",
    "off": "the account is turned off, and signed out everywhere",
    "on": "the account is turned on",
    "unlock": "the failed tries are forgotten",
    "sign-out": "they are signed out everywhere",
}
"""What `?done=` says: words of ours alone, since anybody can make a link."""


def users_routes(desk: AccountDesk) -> list[Route]:
    """`/users` and what is done there."""
    accounts = desk.accounts

    def invite(form: FormData, by: str, now: datetime) -> str:
        return accounts.invite(str(form.get("name", "")), _role(form), by, now)

    def link(form: FormData, by: str, now: datetime) -> str:
        return accounts.links.make(_name(form), by, now)

    def role(form: FormData, by: str, now: datetime) -> None:
        accounts.set_role(_name(form), _role(form), by, now)

    def off(form: FormData, by: str, now: datetime) -> None:
        accounts.turn_off(_name(form), by, now)

    def on(form: FormData, by: str, now: datetime) -> None:
        accounts.turn_on(_name(form), by, now)

    def unlock(form: FormData, by: str, now: datetime) -> None:
        accounts.unlock(_name(form), by, now)

    def sign_out(form: FormData, by: str, now: datetime) -> None:
        accounts.end_sessions(_name(form), by, now)

    deeds: dict[str, Callable[[FormData, str, datetime], str | None]] = {
        "invite": invite,
        "link": link,
        "role": role,
        "off": off,
        "on": on,
        "unlock": unlock,
        "sign-out": sign_out,
    }

    async def page(
        request: Request, *, error: str = "", token: str = "", name: str = "", status: int = 200
    ) -> Response:
        host = request.headers["host"]
        context = {
            "people": await desk.off_loop(accounts.all, desk.clock()),
            "entries": await desk.off_loop(accounts.entries, None, ENTRIES_SHOWN),
            "roles": ROLES,
            "error": error,
            "done": DONE.get(request.query_params.get("done", ""), ""),
            "link": desk.site.url(f"/set-password/{token}", host) if token else "",
            "invited": name,
            "policy": accounts.policy,
            "at": "/users",
        }
        return desk.show(request, "users.html", context, status)

    @needs("admin")
    async def users_page(request: Request) -> Response:
        return await page(request)

    @needs("admin")
    async def deed_page(request: Request) -> Response:
        name = request.path_params["deed"]
        deed = deeds.get(name)
        if deed is None:
            return desk.refuse(request, 404, "there is no such deed")
        async with request.form(max_fields=10, max_files=0) as given:
            try:
                token = await desk.off_loop(deed, given, person_of(request).name, desk.clock())
            except UnknownAccount as error:
                return await page(request, error=str(error), status=404)
            except (AccountError, InvalidName) as error:
                return await page(request, error=str(error), status=422)
            if token is not None:
                # Shown in this answer alone: nothing keeps the token, so there is no page to go on to.
                return await page(request, token=token, name=str(given.get("name", "")).strip().lower())
        return RedirectResponse(f"/users?done={name}", 303)

    return [Route("/users", users_page), Route("/users/{deed}", deed_page, methods=["POST"])]


def _name(form: FormData) -> str:
    return str(form.get("name", ""))[:100]


def _role(form: FormData) -> Role:
    text = form.get("role")
    if not is_role(text):
        raise AccountError(f"{str(text)[:40]!r} is no role; choose one of {', '.join(ROLES)}")
    return text
