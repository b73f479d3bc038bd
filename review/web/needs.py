"""Which role a page needs, said where the page is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from review.person import Person, Role

Page = Callable[[Request], Awaitable[Response]]
NEEDED = "needed_role"


def needs(role: Role) -> Callable[[Page], Page]:
    """Answer only people with this role or one above it; others get a 403 that says what is missing.

    The role is the one that the account has at this request, not the one it had at sign-in.
    """

    def decorate(page: Page) -> Page:
        @wraps(page)
        async def checked(request: Request) -> Response:
            person: Person | None = getattr(request.state, "person", None)
            if person is None:
                raise HTTPException(401, "sign in first")
            demand(person, role)
            return await page(request)

        setattr(checked, NEEDED, role)
        return checked

    return decorate


def demand(person: Person, role: Role) -> None:
    """Let somebody with this role or one above it go on; an `HTTPException` of 403 says to others what is missing."""
    if not person.may(role):
        article = "an" if role[0] in "aeiou" else "a"
        raise HTTPException(403, f"this needs the role of {article} {role}; {person.name} is {person.role}")
