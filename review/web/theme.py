"""Light or dark for browsers without scripts: `POST /theme` turns it over and keeps it in a cookie."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

YEAR_S = 31_536_000


async def theme_page(request: Request) -> Response:
    """Turn the theme over and go back to where the person was, on this site only."""
    theme = "light" if request.cookies.get("theme") == "dark" else "dark"
    came_from = urlsplit(request.headers.get("referer", ""))
    here = (
        came_from.netloc == request.url.netloc and came_from.path.startswith("/") and came_from.path[1:2] not in "/\\"
    )
    back = came_from._replace(scheme="", netloc="", fragment="").geturl() if here and len(came_from.path) > 1 else "/"
    response = RedirectResponse(back, 303)
    secure = request.url.scheme == "https"
    response.set_cookie("theme", theme, max_age=YEAR_S, samesite="lax", secure=secure, path="/")
    return response
