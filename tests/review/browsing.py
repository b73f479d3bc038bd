"""A real browser over real pages: one server and one Chromium for a whole file of tests."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, Playwright, expect
from starlette.types import Receive, Scope, Send

from review.person import Role
from review.review_policy import ReviewPolicy
from tests.review.chromium import machines_own
from tests.review.office import Office
from tests.until import LIMIT_S, until

FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-extensions"]
REQUIRED = "HEADRACE_REQUIRE_BROWSER"
SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "review"
WAIT_MS = 1000 * LIMIT_S
"""For all that is waited for: a page that answers does so at once, whatever holds up this machine's processes."""
POLICY = ReviewPolicy(undo_s=600.0)
"""A verdict can be taken back by whoever is slow: pages count its seconds by a clock of their own."""


def launched(playwright: Playwright) -> Browser:
    """Chromium, as the machine or Playwright has it. Skips where none starts, unless `REQUIRED` demands one."""
    path = machines_own()
    if path is None and not Path(playwright.chromium.executable_path).exists():
        _without("there is no Chromium; run 'make browser'")
    try:
        # A test machine's user may be root, and its /dev/shm small.
        return playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=WAIT_MS)
    except Error as error:
        _without(f"Chromium does not start; run 'make browser': {error}")


def _without(reason: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        raise RuntimeError(f"{REQUIRED} is set: {reason}")
    pytest.skip(reason)


class World:
    """Pages on a port and people at browsers. The office can be exchanged, and the server stopped and begun again."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.office: Office | None = None
        self.port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._open = ExitStack()
        self.trouble: list[str] = []

    def begin(self, directory: Path) -> Office:
        """A new office; whoever sat at a page of the one before has gone."""
        self.office = Office(directory / "review.sqlite", POLICY, now=datetime.now(UTC))
        self.trouble = []
        return self.office

    def end(self) -> None:
        """Close the pages and the office."""
        self._open.close()
        if self.office is not None:
            self.office.close()

    def serve(self) -> None:
        """Answer, at the port of before if there was one."""
        quiet = {"log_level": "error", "access_log": False, "lifespan": "off", "timeout_graceful_shutdown": 1}
        config = uvicorn.Config(self._app, "127.0.0.1", self.port, interface="asgi3", **quiet)  # type: ignore[arg-type]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        server, thread = self._server, self._thread
        until(lambda: server.started or not thread.is_alive(), "the pages' server", every_s=0.02)
        assert server.started, "the pages' server does not start"
        self.port = server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Answer no more."""
        assert self._server is not None and self._thread is not None
        self._server.should_exit = True
        self._thread.join(WAIT_MS / 1000)
        assert not self._thread.is_alive(), "the pages' server does not stop"

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Nobody answers as long as it lasts, and nobody else gets the port."""
        self.stop()
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", self.port))
            yield
            self.serve()

    def page(self, name: str, path: str, role: Role = "analyst", scheme: str = "light", width: int = 1400) -> Page:
        """A browser of somebody's own, signed in, at a path. What its console complains of is in `trouble`."""
        assert self.office is not None
        base = f"http://localhost:{self.port}"
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        self._open.callback(context.close)
        context.set_default_timeout(WAIT_MS)
        cookie = self.office.parts.site.cookie("session")
        context.add_cookies([{"name": cookie, "value": self.office.session(name, role), "url": base}])
        page = context.new_page()
        page.on("dialog", self._asked)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("console", self._said)
        page.goto(base + path)
        # Not `wait_for_function`, which evaluates text within the page: the content policy refuses it.
        expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
        return page

    def keep(self, page: Page, name: str) -> None:
        """A screenshot in the folder that a test run leaves behind."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        # Hiding the caret would be a style that the pages' content policy refuses.
        page.screenshot(path=SCREENSHOTS / f"{name}.png", caret="initial")

    def pictured(self, page: Page, name: str) -> list[tuple[str, str]]:
        """Keep a page in light, in dark and on a phone, where it is no wider; what axe finds in the light."""
        page.emulate_media(color_scheme="dark")
        self.keep(page, f"{name}-dark")
        page.emulate_media(color_scheme="light")
        self.keep(page, f"{name}-light")
        found = [(one["id"], one["nodes"][0]["html"][:160]) for one in Axe().run(page).response["violations"]]
        page.set_viewport_size({"width": 390, "height": 900})
        self.keep(page, f"{name}-phone")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.set_viewport_size({"width": 1400, "height": 900})
        return found

    def _asked(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.trouble.append(f"console: {message.text}")

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.office is not None
        await self.office.app(scope, receive, send)
