"""All pages of accounts."""

from __future__ import annotations

from starlette.routing import Route

from review.web.account_desk import AccountDesk
from review.web.account_page import account_routes_of_person
from review.web.provider_page import provider_routes
from review.web.sign_in_page import sign_in_routes
from review.web.users_page import users_routes


def account_routes(desk: AccountDesk) -> list[Route]:
    """Signing in and out, links, one's own account, everybody's; the provider's way where there is a provider."""
    of_provider = [] if desk.provider is None else provider_routes(desk, desk.provider)
    return [*sign_in_routes(desk), *of_provider, *account_routes_of_person(desk), *users_routes(desk)]
