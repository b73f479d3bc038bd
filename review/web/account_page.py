"""A person's own account: where they are signed in, their password, what happened to it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from review.account import AccountError
from review.password_rules import LEAST_CHARACTERS, WeakPassword
from review.web.account_desk import AccountDesk, Busy, caller_of, person_of
from review.web.browser_words import browser_of
from review.web.needs import needs

ENTRIES_SHOWN = 20
DONE = {
    "password": "your password is changed; everywhere else you are signed out",
    "ended": "that browser is signed out",
}
"""What `?done=` says: words of ours alone, since anybody can make a link."""


def account_routes_of_person(desk: AccountDesk) -> list[Route]:
    """`/account` and what is done there."""
    accounts = desk.accounts

    async def page(request: Request, error: str = "", status: int = 200) -> Response:
        person, now = person_of(request), desk.clock()
        context = {
            "account": await desk.off_loop(accounts.account, person.name, now),
            "sessions": await desk.off_loop(accounts.sessions.of, person.account_id, now),
            "entries": await desk.off_loop(accounts.entries, person.name, ENTRIES_SHOWN),
            "error": error,
            "done": DONE.get(request.query_params.get("done", ""), ""),
            "least": LEAST_CHARACTERS,
            "browser": browser_of,
            "policy": accounts.policy,
        }
        return desk.show(request, "account.html", context, status)

    @needs("viewer")
    async def account_page(request: Request) -> Response:
        return await page(request)

    @needs("viewer")
    async def change_password(request: Request) -> Response:
        async with request.form(max_fields=10, max_files=0) as given:
            old, new, again = (str(given.get(name, "")) for name in ("old", "password", "again"))
        try:
            if new != again:
                raise WeakPassword("the two new passwords are not the same")
            who, caller = person_of(request), caller_of(request)
            await desk.hashing(accounts.change_password, who, old, new, caller, desk.clock())
        except (WeakPassword, AccountError, Busy) as error:
            return await page(request, str(error), 503 if isinstance(error, Busy) else 422)
        return RedirectResponse("/account?done=password", 303)

    @needs("viewer")
    async def end_session(request: Request) -> Response:
        async with request.form(max_fields=10, max_files=0) as given:
            session_id = str(given.get("session", ""))
        person, caller, now = person_of(request), caller_of(request), desk.clock()
        if session_id == "others":
            await desk.off_loop(accounts.sessions.end_others, person, caller, now)
        elif not await desk.off_loop(accounts.sessions.end, person, session_id, caller, now):
            return await page(request, "that session was over already", 404)
        return RedirectResponse("/account?done=ended", 303)

    return [
        Route("/account", account_page),
        Route("/account/password", change_password, methods=["POST"]),
        Route("/account/sessions/end", end_session, methods=["POST"]),
    ]
