"""The pages that read the cases, as a browser asks for them: through the gate, signed in, templates and all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import cycle
from secrets import token_hex
from urllib.parse import quote

import httpx
from sqlalchemy import select

from bench.review_world import BUSY, DAYS, FULL, NOW
from review.account import Caller
from review.accounts import Accounts
from review.case import Place
from review.case_filter import QueueFilter
from review.case_store import CaseStore
from review.judged import newest_examples
from review.tables import CASES
from review.verdict_figures import days_before
from review.web.app import make_app
from review.web.parts import Parts
from review.widget_content import entity_risk

BASE = "http://localhost"
DEEP = 0.9

Asked = dict[str, Callable[[], object]]


class Browser:
    """Somebody who is signed in as a lead, with a loop of their own."""

    def __init__(self, cases: CaseStore) -> None:
        self._asked = 0
        accounts = Accounts(cases.database)
        parts = Parts(cases, accounts, self._clock)
        name = f"lead-{token_hex(4)}"
        token = accounts.invite(name, "lead", "bench", NOW)
        caller = Caller("127.0.0.1", "", "")
        session = accounts.links.use(token, name, "a long password of the bench", caller, NOW).session
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(make_app(parts))
        cookies = {parts.site.cookie("session"): session}
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE, cookies=cookies, timeout=120.0)

    def _clock(self) -> datetime:
        # Goes on with each page, so that nobody asks more often than a person may.
        self._asked += 1
        return NOW + self._asked * timedelta(milliseconds=60)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A page. Raises where it is not there."""
        asked = {"accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        response = self._loop.run_until_complete(self._client.get(path, headers=asked))
        if response.status_code != 200:
            raise RuntimeError(f"{path} answered {response.status_code}: {response.text[:200]}")
        return response

    def close(self) -> None:
        """Close it."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@contextmanager
def signed_in(cases: CaseStore) -> Iterator[Browser]:
    """A browser, closed afterwards."""
    browser = Browser(cases)
    try:
        yield browser
    finally:
        browser.close()


QUEUES = {
    "first page": "",
    "500 at once": "?shown=500",
    "declines": "?outcome=decline",
    "free and unassigned": "?claimed=free&assigned_to=@nobody",
    "mine": "?claimed=mine",
    "for me": "?assigned_to=@me",
    "overdue": "?overdue=true",
    "snoozed": "?status=snoozed",
    "proposed": "?status=proposed",
    "loss that none has": "?min_loss=1000000000",
    "use case that none has": "?use_case=none",
    "search: one card": "?text=0000077",
    "search: every card": "?text=card",
    "search: a fifth": "?text=shop-1",
    "search: those that lie last": "?text=kiosk",
    "search: one that lies last": "?text=kiosk-7",
    "search: nothing": "?text=zebra",
    "search: the busy card": f"?text={BUSY}",
    "rare rule": "?rule=rare",
    "common rule": "?rule=common",
    "common rule and a search": "?rule=common&text=shop",
    "common rule and those that lie last": "?rule=common&text=kiosk",
    "decided": "?status=decided",
    "decided: declines": "?status=decided&outcome=decline",
    "decided: loss that none has": "?status=decided&min_loss=1000000000",
    "decided: search: those that are a quarter": "?status=decided&text=kiosk",
    "decided: rare rule": "?status=decided&rule=rare",
}


def pages(cases: CaseStore, browser: Browser) -> Asked:
    """By name. Filters that find nothing, and searches whose cases lie last, are the slow ones."""
    some = cycle(case.case_id for case in cases.queue(200))
    busy, full = (_newest_of(cases, entity) for entity in (BUSY, FULL))
    closed = cycle(case.case_id for case in cases.queue(200, filter=QueueFilter(status="decided")))
    deep = quote(_deep(cases).text)
    found: Asked = {f"queue, {name}": _page(browser, f"/review{query}") for name, query in QUEUES.items()}
    found[f"queue, page at {DEEP:.0%}"] = _page(browser, f"/review/list?after={deep}", hx_target="more")
    found |= {
        "case": lambda: browser.get(f"/review/cases/{next(some)}", hx_target="case"),
        "case beside its queue": lambda: browser.get(f"/review/cases/{next(some)}"),
        "case, closed": lambda: browser.get(f"/review/cases/{next(closed)}", hx_target="case"),
        "case of a card with thousands": _page(browser, f"/review/cases/{busy}", hx_target="case"),
        "case of 1,000 events": _page(browser, f"/review/cases/{full}", hx_target="case"),
        "nearest": lambda: browser.get(f"/review/cases/{next(some)}/nearest"),
        "linked": lambda: browser.get(f"/review/cases/{next(some)}/linked"),
        "linked to a card with thousands": _page(browser, f"/review/cases/{busy}/linked"),
        "life of a verdict": lambda: browser.get(f"/review/cases/{next(closed)}/life"),
        "figures, 7 days": _page(browser, "/figures?days=7"),
        "figures, 90 days": _page(browser, "/figures?days=90"),
        "rules: their precision": lambda: cases.precision("rule", days_before(NOW, DAYS)),
        "rules: cases to suggest from": lambda: newest_examples(cases, "fraud"),
        "dashboard: precision of models": lambda: cases.precision("model", days_before(NOW, DAYS)),
        "widget of a card with thousands": lambda: entity_risk(cases, "fraud", BUSY, NOW),
        "what is new, each second": lambda: cases.deeds_after(cases.last_deed()),
        "what was missed": lambda: cases.deeds_after(cases.last_deed() - 2000, 2000),
    }
    return found


def _page(browser: Browser, path: str, **headers: str) -> Callable[[], object]:
    return lambda: browser.get(path, **headers)


def _newest_of(cases: CaseStore, entity: str) -> str:
    newest = select(CASES.c.case_id).where(CASES.c.entity == entity, CASES.c.use_case == "fraud")
    with cases.database.reading() as db:
        return str(db.execute(newest.order_by(CASES.c.number.desc()).limit(1)).scalar_one())


def _deep(cases: CaseStore) -> Place:
    count = cases.open_count()
    place = select(CASES.c.rank, CASES.c.case_id).where(CASES.c.status == "open")
    with cases.database.reading() as db:
        rank, case_id = db.execute(
            place.order_by(CASES.c.rank.desc(), CASES.c.case_id.desc()).offset(int(count * DEEP)).limit(1)
        ).one()
    return Place(rank, case_id)
