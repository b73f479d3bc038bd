"""Pages beside the API in one server: what they answer is known by the first part of a path, and is never the API's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from scoring.asgi import AsgiApp, Receive, Scope, Send
from scoring.key_scopes import PATHS, PREFIXES

OF_API = frozenset(path.split("/", 2)[1] for path in (*PATHS, *(prefix for prefix, _ in PREFIXES))) - {""}
"""First parts of the API's paths."""


class Pages(NamedTuple):
    """An application and the first parts of the paths that it answers; `""` is the path `/`."""

    app: AsgiApp
    segments: frozenset[str]


def pages_at(app: AsgiApp, segments: Collection[str]) -> Pages:
    """Pages that may stand beside the API. Raises `ValueError` where they would take a path of it."""
    if taken := sorted(OF_API & set(segments)):
        raise ValueError(f"the pages at /{taken[0]} would hide the API's; give them another path")
    return Pages(app, frozenset(segments))


class PagesDoor:
    """An ASGI application around another. Its cost for the other's requests is one look at the path.

    It stands before the gate of API keys: pages have a gate of their own.
    """

    def __init__(self, inner: AsgiApp, pages: Callable[[], Pages | None]) -> None:
        self.inner = inner
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a page, or pass the request on."""
        if scope["type"] == "http":
            pages = self._pages()
            if pages is not None and _first_part(scope["path"]) in pages.segments:
                await pages.app(scope, receive, send)
                return
        await self.inner(scope, receive, send)


def _first_part(path: str) -> str | None:
    """Between the first slash and the next; None for what begins with none, such as the `*` of `OPTIONS *`."""
    return path[1:].partition("/")[0] if path.startswith("/") else None
