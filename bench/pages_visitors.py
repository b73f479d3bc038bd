"""People at the analysts' pages, in a process of their own: open dashboards, or analysts who page through the queue.

`python -m bench.pages_visitors URL KIND COOKIES` (with commas between) prints a line when all of them are there, and
when its input ends another, as JSON: what they were told.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from types import TracebackType
from typing import Any, Literal

import httpx
import msgspec

Kind = Literal["dashboards", "analysts"]
THINK_S = 1.0
"""Between two pages of an analyst: some times quicker than one who reads."""
ARRIVAL_S = 60.0
SEARCHES = ("", "outcome=decline", "text=shop-1", "claimed=free", "text=0000077", "overdue=1")
_CASE = re.compile(r'href="(/review/cases/[^"?#]+)')
_NEXT = re.compile(r'href="(/review\?[^"]*after=[^"]*)"')


class Seen(msgspec.Struct):
    """How many pages were answered, events heard, and answers that were none."""

    pages: int = 0
    events: int = 0
    refused: int = 0


class Visitors:
    """Visitors for as long as the context lasts; what they saw is in `seen` after that.

    Entering waits until all are there. Raises `RuntimeError` where they could not come.
    """

    def __init__(self, url: str, kind: Kind, cookies: list[str]) -> None:
        self.seen = Seen()
        self._command = [sys.executable, "-m", "bench.pages_visitors", url, kind, ",".join(cookies)]

    def __enter__(self) -> Visitors:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"there\n":
            self._process.kill()
            self._process.wait()
            raise RuntimeError("no visitors came to the pages; see what their process said above")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        said, _unused = self._process.communicate()
        if kind is None:
            self.seen = msgspec.json.decode(said, type=Seen)


async def dashboard(client: httpx.AsyncClient, cookie: dict[str, str], seen: Seen, there: asyncio.Event) -> None:
    """One open dashboard: the page, its charts, then every event until the end."""
    for path in ("/", "/dashboard/series?range=15m"):
        await _page(client, path, cookie, seen)
    async with client.stream("GET", "/dashboard/events", headers=cookie, timeout=None) as stream:
        if stream.status_code != 200:
            seen.refused += 1
            return
        async for line in stream.aiter_lines():
            there.set()
            seen.events += line.startswith("event: tick")


async def analyst(client: httpx.AsyncClient, cookie: dict[str, str], seen: Seen, there: asyncio.Event) -> None:
    """One analyst: a search, its first case, the page after, and so on."""
    number = 0
    while True:
        for search in SEARCHES:
            listed = await _page(client, f"/review?{search}", cookie, seen)
            there.set()
            for pattern in (_CASE, _NEXT):
                await asyncio.sleep(THINK_S)
                if found := pattern.findall(listed):
                    await _page(client, found[number % len(found)].replace("&amp;", "&"), cookie, seen)
            await asyncio.sleep(THINK_S)
            number += 7


async def _all(arrivals: list[asyncio.Event]) -> None:
    for there in arrivals:
        await there.wait()


async def _page(client: httpx.AsyncClient, path: str, cookie: dict[str, str], seen: Seen) -> str:
    answer = await client.get(path, headers=cookie)
    if answer.status_code == 200:
        seen.pages += 1
    else:
        seen.refused += 1
    return answer.text


async def _visit(url: str, kind: Kind, cookies: list[str]) -> Seen:
    seen, visit = Seen(), dashboard if kind == "dashboards" else analyst
    limits = httpx.Limits(max_connections=None)
    headers = {"accept": "text/html", "accept-encoding": "gzip"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=20) as client:
        arrivals = [asyncio.Event() for _ in cookies]
        visits: list[asyncio.Future[None]] = [
            asyncio.ensure_future(visit(client, {"cookie": cookie}, seen, there))
            for cookie, there in zip(cookies, arrivals, strict=True)
        ]
        everybody = asyncio.ensure_future(_all(arrivals))
        arriving = asyncio.ensure_future(asyncio.wait_for(everybody, ARRIVAL_S))
        waited: list[asyncio.Future[Any]] = [arriving, *visits]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not everybody.done() or everybody.cancelled():
            raise SystemExit(f"a visitor left at once: {[one.exception() for one in visits if one.done()]}, {seen}")
        seen.pages = seen.events = 0
        print("there", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for one in visits:
            one.cancel()
        ends = await asyncio.gather(*visits, return_exceptions=True)
        for end in ends:
            if not isinstance(end, asyncio.CancelledError):
                raise SystemExit(f"a visitor left: {end!r}")
    return seen


def main() -> None:
    """The process that `Visitors` starts."""
    url, kind, cookies = sys.argv[1:]
    seen = asyncio.run(_visit(url, "dashboards" if kind == "dashboards" else "analysts", cookies.split(",")))
    print(json.dumps(msgspec.to_builtins(seen)))


if __name__ == "__main__":
    main()
