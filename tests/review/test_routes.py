"""Every route says whom it needs, so that none is open because somebody forgot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from review.oidc import OidcPolicy, Provider
from review.person import ROLES
from review.web.app import SEGMENTS, make_app
from review.web.gate import Gate
from review.web.needs import NEEDED
from review.web.safe_headers import SafeHeaders
from tests.review.office import Office

PUBLIC = {
    "/static/{name:path}": "files, the same for everybody",
    "/theme": "light or dark, before signing in too",
    "/sign-in": "whoever is nobody yet",
    "/sign-in/provider": "whoever is nobody yet",
    "/sign-in/provider/back": "whoever is nobody yet",
    "/set-password/{link}": "whoever has the link",
    "/widgets/{kind}": "whoever has a signed address",
}


def test_every_route_says_whom_it_needs_or_is_known_to_be_for_everybody(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        # With every part that adds routes.
        provider = Provider(OidcPolicy("https://id.example.org", "pages", "secret"))
        routes = list(_routes(_pages(make_app(replace(office.parts, provider=provider)))))
    needed = {route.path: getattr(route.endpoint, NEEDED, None) for route in routes}
    assert {path for path, role in needed.items() if role is None} == set(PUBLIC)
    assert {role for role in needed.values() if role is not None} <= set(ROLES)
    assert {path.split("/")[1] for path in needed} == SEGMENTS
    assert (needed["/review"], needed["/users/{deed}"]) == ("viewer", "admin")


def _pages(app: ASGIApp) -> Starlette:
    """The application within what is around it."""
    assert isinstance(app, SafeHeaders)
    assert isinstance(app.app, Gate)
    pages = app.app._app
    assert isinstance(pages, Starlette)
    return pages


def _routes(within: Starlette | Mount) -> Iterator[Route]:
    every: list[BaseRoute] = list(within.routes)
    for one in every:
        if isinstance(one, Mount):
            yield from _routes(one)
        else:
            assert isinstance(one, Route), one
            yield one
