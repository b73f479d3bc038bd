"""The pages before there is a store: whatever is asked for, why there is nothing yet and what to do."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from review.web.page_templates import page_templates
from review.web.refusal import refusal_pages
from review.web.safe_headers import SafeHeaders
from review.web.static_files import StaticFiles


def closed_pages(sentence: str) -> ASGIApp:
    """All pages as 503 with this sentence, and the files that it is shown with. It knows no sessions."""
    files = StaticFiles.ours()
    refuse = refusal_pages(page_templates(files))

    async def closed(request: Request) -> Response:
        return refuse(request, 503, sentence, {"retry-after": "5"})

    methods = ["GET", "HEAD", "POST"]
    return SafeHeaders(
        Starlette(routes=[Route("/static/{name:path}", files.page), Route("/{path:path}", closed, methods=methods)])
    )
