"""The files that pages load: read once, named with their hash, so that browsers keep them for ever."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

ROOT = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served; nothing else in the folder is."""
FOR_EVER = "public, max-age=31536000, immutable"


class StaticFile(NamedTuple):
    """One file: its bytes, their type and the version in its address."""

    content: bytes
    content_type: str
    version: str


class StaticFiles:
    """All files of a folder, in memory: what is asked for is a key of a table, never a path."""

    def __init__(self, root: Path = ROOT) -> None:
        self._files: dict[str, StaticFile] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix in TYPES:
                content = path.read_bytes()
                version = sha256(content).hexdigest()[:12]
                self._files[path.relative_to(root).as_posix()] = StaticFile(content, TYPES[path.suffix], version)

    def address(self, name: str) -> str:
        """Where a page finds a file. Raises `KeyError` for one that is not there: a page names only what it has."""
        return f"/static/{name}?v={self._files[name].version}"

    @classmethod
    @cache
    def ours(cls) -> StaticFiles:
        """The files of the pages, read when they are first asked for."""
        return cls(ROOT)

    async def page(self, request: Request) -> Response:
        """Answer `/static/{name:path}`; without the present version in the address a browser asks again each time."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("there is no such file", 404)
        fresh = request.query_params.get("v") == found.version
        cache = FOR_EVER if fresh else "no-cache"
        return Response(found.content, media_type=found.content_type, headers={"cache-control": cache})
