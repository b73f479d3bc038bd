"""What tests of accounts have in common: a store, people, a clock that is turned by hand, and the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from anyio.from_thread import BlockingPortal
from httpx import Response as Answer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from review.account import AccountPolicy, Caller
from review.accounts import Accounts
from review.engine import Database, open_engine
from review.oidc import Provider
from review.passwords import Cost, Passwords
from review.person import Role
from review.schema import bring_up_to_date
from review.web.account_desk import AccountDesk
from review.web.account_routes import account_routes
from review.web.gate import Gate
from review.web.needs import needs
from review.web.page_templates import page_templates
from review.web.refusal import refusal_pages
from review.web.site import Site
from review.web.static_files import StaticFiles

CHEAP = Cost(passes=1, memory_kib=8, lanes=1)
PASSWORD = "a river, a wheel and a mill"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
_NUMBERS = count()
# What all tests share, since making it takes longer than what they do.
_TEMPLATES = cache(lambda: page_templates(StaticFiles()))
HTML = {"accept": "text/html"}
LOOP: dict[str, BlockingPortal] = {}
"""The session's one event loop, in a thread: each request would otherwise begin and end one of its own."""


def accounts_in(
    place: Path | str, *people: tuple[str, Role], policy: AccountPolicy | None = None, cost: Cost = CHEAP
) -> Accounts:
    """Accounts over a store with these people. It is made where there is none."""
    is_new = "://" not in str(place) and not Path(place).exists()
    if is_new:
        Path(place).write_bytes(_new_file(people))
    accounts = _opened(place, policy, cost)
    for name, role in () if is_new else people:
        with_person(accounts, name, role)
    return accounts


def _opened(place: Path | str, policy: AccountPolicy | None, cost: Cost) -> Accounts:
    engine = open_engine(place)
    bring_up_to_date(engine)
    return Accounts(Database(engine), Passwords(cost), policy or AccountPolicy())


@cache
def _new_file(people: tuple[tuple[str, Role], ...]) -> bytes:
    # Making the tables and the people takes longer than a test of what is then done with them.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new.sqlite"
        accounts = _opened(path, None, CHEAP)
        for name, role in people:
            with_person(accounts, name, role)
        accounts.database.close()
        return path.read_bytes()


def with_person(accounts: Accounts, name: str, role: Role, now: datetime = NOON, password: str = PASSWORD) -> None:
    """Make an account that can sign in."""
    accounts.links.use(accounts.invite(name, role, "test", now), "", password, Caller("192.0.2.9"), now)
    accounts.end_sessions(name, "test", now)


@dataclass
class Clock:
    """Time as a test says it is."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Pages:
    """The pages of accounts behind their gate, with a page for each role, over one store."""

    accounts: Accounts
    site: Site = field(default_factory=Site)
    clock: Clock = field(default_factory=Clock)
    provider: Provider | None = None
    base_url: str = "http://localhost"

    def __post_init__(self) -> None:
        templates = _TEMPLATES()
        desk = AccountDesk(self.accounts, self.site, templates, self.clock, provider=self.provider)
        refuse = refusal_pages(templates)
        routes = [*account_routes(desk), *(_page_for(role) for role in ("viewer", "analyst", "lead", "admin"))]
        routes += [Route("/review", _echo, methods=["GET", "POST"]), Route("/theme", _echo, methods=["POST"])]
        app = Starlette(
            routes=routes,
            exception_handlers={403: lambda request, error: refuse(request, 403, error.detail, {})},
        )
        self.app = Gate(app, self.accounts, self.site, self.clock, refuse)

    def browser(self, address: str | None = None) -> Browser:
        """A browser with no cookies, at an address of its own: on a clock that stands, paces never recover."""
        address = address or f"198.18.{next(_NUMBERS) // 250}.{next(_NUMBERS) % 250}"
        client = TestClient(self.app, self.base_url, client=(address, 5000), follow_redirects=False)
        client.portal = LOOP.get("portal")
        return Browser(self, client)


@dataclass
class Browser:
    """A browser, as far as forms and cookies go."""

    pages: Pages
    client: TestClient

    def get(self, path: str, **headers: str) -> Answer:
        answer: Answer = self.client.get(path, headers=HTML | headers)
        return answer

    def post(self, path: str, form: dict[str, str], on: str | None = None, **headers: str) -> Answer:
        """Fill in the form of the page `on` (`path` where it is not said) and send it."""
        csrf = csrf_in(self.get(on or path))
        origin = {"origin": self.pages.base_url}
        answer: Answer = self.client.post(path, data={"csrf": csrf} | form, headers=HTML | origin | headers)
        return answer

    def sign_in(self, name: str, password: str = PASSWORD, next_path: str = "/review") -> Answer:
        return self.post("/sign-in", {"name": name, "password": password, "next": next_path})

    @property
    def session(self) -> str:
        return self.client.cookies.get(self.pages.site.cookie("session")) or ""


def csrf_in(answer: Answer) -> str:
    """The token of the first form in a page."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', answer.text)
    return found[1] if found else ""


async def _echo(request: Request) -> Response:
    body = (await request.body()).decode()
    person = request.state.person
    return PlainTextResponse(f"{person.name if person else 'nobody'} {body}")


def _page_for(role: Role) -> Route:
    return Route(f"/for-{role}", needs(role)(_echo))
