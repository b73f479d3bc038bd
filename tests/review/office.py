"""The pages over a store of their own, with people who are signed in: what tests of pages begin with."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

from httpx import Response
from starlette.testclient import TestClient

from review.account import Caller
from review.accounts import Accounts
from review.case_store import CaseStore
from review.passwords import Cost, Passwords
from review.person import Role
from review.ports import ExactReasons
from review.review_policy import ReviewPolicy
from review.web.app import make_app
from review.web.parts import Parts
from tests.review.quick_stores import new_store_at

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BASE = "http://localhost"
POLICY = ReviewPolicy()
CHEAP = Passwords(Cost(passes=1, memory_kib=8, lanes=1))
"""For one process's tests: hashing is what they would otherwise spend their time on."""


class Office:
    """A store, accounts, the pages, and a clock that stands still until it is moved."""

    def __init__(
        self,
        place: Path | str,
        policy: ReviewPolicy = POLICY,
        explain: ExactReasons | None = None,
        now: datetime = NOON,
    ) -> None:
        self.now = now
        new_store_at(place)
        self.cases = CaseStore(place, policy=policy)
        self.accounts = Accounts(self.cases.database, CHEAP)
        self.parts = Parts(self.cases, self.accounts, lambda: self.now, policy=policy, explain=explain)
        self.app = make_app(self.parts)
        self._sessions: dict[str, str] = {}
        self._open = ExitStack()

    def pass_time(self, **time: float) -> None:
        """Let time go by."""
        self.now += timedelta(**time)

    def session(self, name: str, role: Role = "analyst") -> str:
        """The session's token of somebody with this role, who is made when first asked for."""
        if name not in self._sessions:
            token = self.accounts.invite(name, role, "office", self.now)
            admitted = self.accounts.links.use(
                token, name, f"a long password of {role}", Caller("127.0.0.1", "", ""), self.now
            )
            self._sessions[name] = admitted.session
        return self._sessions[name]

    def desk(self, name: str, role: Role = "analyst") -> Desk:
        """A browser at which somebody is signed in."""
        client = TestClient(self.app, BASE, headers={"accept": "text/html"}, follow_redirects=True)
        self._open.enter_context(client)
        client.cookies.set(self.parts.site.cookie("session"), self.session(name, role))
        return Desk(client)

    def close(self) -> None:
        """Close browsers and store."""
        self._open.close()
        self.cases.close()


class Desk:
    """A browser without scripts: it reads pages and sends their forms."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.page: Response | None = None

    def get(self, path: str, **headers: str) -> Response:
        """Open a page."""
        self.page = self.client.get(path, headers=headers)
        return self.page

    def send(self, action: str, /, status: int = 200, **fields: str | list[str]) -> Response:
        """Send the form of the open page whose address begins like this; other fields than its own are `fields`."""
        assert self.page is not None
        found = re.search(rf'<form[^>]* action="({re.escape(action)}[^"]*)"[^>]*>(.*?)</form>', self.page.text, re.S)
        assert found, f"the page has no form {action!r}"
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
        content: dict[str, str | list[str]] = {unescape(name): unescape(value) for name, value in hidden}
        self.page = self.client.post(unescape(found[1]), data=content | fields)
        assert self.page.status_code == status, (self.page.status_code, self.page.text[:600])
        return self.page

    def has_form(self, action: str) -> bool:
        """Whether the open page has such a form."""
        assert self.page is not None
        return f'action="{action}' in self.page.text

    def page_text(self) -> str:
        """What the open page says."""
        assert self.page is not None
        return self.page.text
