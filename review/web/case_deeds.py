"""What an analyst does to a case: one table of deeds, each a form, each answered by going on to where the work is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import get_args

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from review.bulk import Bulk
from review.case import Case, Place
from review.case_filter import QueueFilter
from review.refusals import Refused, UnknownCase
from review.web.colleagues import Colleagues
from review.web.needs import demand
from review.web.panes import DONE_LIMIT, Panes
from review.web.parts import Parts
from review.web.queue_address import address_of, filter_in
from stream.records import Verdict

AHEAD = 20
"""How many cases are looked at for the next one that is free, before the queue is asked for its first."""
SNOOZE_LIMIT_H = 24 * 14
SNOOZED = timedelta(hours=4)
OF_LEADS = frozenset({"take-over"})
"""Deeds that need the role of a lead."""

Form = Mapping[str, str]
Deed = Callable[[str, str, Form, datetime], object]


class CaseDeeds:
    """Deeds of one store. Each takes the case's id, who does it, the form and the time."""

    def __init__(self, parts: Parts, panes: Panes, colleagues: Colleagues) -> None:
        self._parts = parts
        self._panes = panes
        self._colleagues = colleagues
        cases = parts.cases
        self._deeds: dict[str, Deed] = {
            "claim": lambda case_id, by, form, now: cases.claim(case_id, by, now),
            "take-over": lambda case_id, by, form, now: cases.take_over(case_id, by, now),
            "release": lambda case_id, by, form, now: cases.release(case_id, by, now),
            "reopen": lambda case_id, by, form, now: cases.reopen(case_id, by, now),
            "wake": lambda case_id, by, form, now: cases.wake(case_id, by, now),
            "decide": self._decide,
            "snooze": self._snooze,
            "assign": self._assign,
            "escalate": self._escalate,
            "note": lambda case_id, by, form, now: cases.note(case_id, _word(form, "text", "a note"), by, now),
            "evidence": lambda case_id, by, form, now: cases.add_evidence(
                case_id, _word(form, "url", "an address"), form.get("title", "").strip(), by, now
            ),
        }

    async def do(self, request: Request) -> Response:
        """`POST /review/cases/{case_id}/{deed}`. Where it leaves the desk, the next case is claimed and opened."""
        case_id, name = request.path_params["case_id"], request.path_params["deed"]
        deed, by, now = self._deeds.get(name), request.state.person.name, self._parts.clock()
        if deed is None:
            return await self._panes.page(request, case_id, 404, f"Nothing is called {name!r} here.")
        if name in OF_LEADS:
            demand(request.state.person, "lead")
        filter = filter_in(request.query_params)
        form = {field: value for field, value in (await request.form()).items() if isinstance(value, str)}
        try:
            address = await self._parts.off_loop(self._done, deed, name, case_id, by, form, filter, now)
        except UnknownCase as error:
            return await self._panes.page(request, status=404, problem=str(error))
        except Refused as error:
            return await self._panes.page(request, case_id, 409, _sentence(error))
        except ValueError as error:
            return await self._panes.page(request, case_id, 422, _sentence(error))
        return RedirectResponse(address, 303)

    async def touch(self, request: Request) -> Response:
        """`POST /review/cases/{case_id}/touch`: somebody is still there, so the claim goes on."""
        case_id, by, now = request.path_params["case_id"], request.state.person.name, self._parts.clock()
        try:
            await self._parts.off_loop(self._parts.cases.touch, case_id, by, now)
        except (UnknownCase, Refused) as error:
            return PlainTextResponse(f"{error}\n", 409)
        return Response(status_code=204)

    async def bulk(self, request: Request) -> Response:
        """`POST /review/bulk`: one verdict, or a snooze, for all that are selected."""
        form = await request.form()
        ids = [str(one) for one in form.getlist("ids")][:DONE_LIMIT]
        verdict, by, now = str(form.get("verdict", "")), request.state.person.name, self._parts.clock()
        filter = filter_in(request.query_params)
        if not ids:
            return await self._panes.page(request, status=422, problem="No case is selected: tick some, or press x.")
        if verdict == "snooze":
            bulk = await self._parts.off_loop(self._parts.cases.snooze_many, ids, now + SNOOZED, by, now)
        elif verdict in get_args(Verdict):
            cases, undo_s = self._parts.cases, self._parts.policy.undo_s
            bulk = await self._parts.off_loop(cases.decide_many, ids, verdict, by, now, undo_s)  # type: ignore[arg-type]
        else:
            return await self._panes.page(request, status=422, problem=f"{verdict!r} is no verdict.")
        done = tuple(bulk.done)
        if bulk.refused:
            some = await self._parts.off_loop(self._whys, bulk)
            problem = f"{len(bulk.refused)} of {len(ids)} cases are as they were: {some}."
            return await self._panes.page(request, status=409, problem=problem, done=done)
        return RedirectResponse(f"/review{address_of(filter, done=','.join(done))}", 303)

    async def undo(self, request: Request) -> Response:
        """`POST /review/undo`: take back what was just decided, and show it again."""
        form = await request.form()
        ids = str(form.get("ids", "")).split(",")[:DONE_LIMIT]
        by, now = request.state.person.name, self._parts.clock()
        bulk = await self._parts.off_loop(self._parts.cases.undo_many, ids, by, now)
        if bulk.refused:
            problem = await self._parts.off_loop(self._whys, bulk)
            one = ids[0] if len(ids) == 1 else ""
            return await self._panes.page(request, one, 409, f"Not taken back: {problem}.")
        where = f"/review/cases/{ids[0]}" if len(ids) == 1 else "/review"
        return RedirectResponse(f"{where}{address_of(filter_in(request.query_params))}", 303)

    def _whys(self, bulk: Bulk) -> str:
        """Why cases were refused, with their entities, which the list has, instead of their ids."""
        found = []
        for case_id, why in bulk.refused.items():
            try:
                found.append(why.replace(f"case {case_id}", self._parts.cases.case(case_id).entity))
            except UnknownCase:
                found.append(why)
        return "; ".join(dict.fromkeys(found))

    def _done(
        self, deed: Deed, name: str, case_id: str, by: str, form: Form, filter: QueueFilter, now: datetime
    ) -> str:
        """Do it; the address of what to look at then."""
        before = self._parts.cases.case(case_id)
        deed(case_id, by, form, now)
        if name not in ("decide", "snooze", "escalate") or before.status == "decided":
            return f"/review/cases/{case_id}{address_of(filter)}"
        following = self._next(before, by, filter, now)
        where = f"/review/cases/{following.case_id}" if following else "/review"
        return f"{where}{address_of(filter, done=case_id)}"

    def _next(self, case: Case, by: str, filter: QueueFilter, now: datetime) -> Case | None:
        """The next case of the view that is free, claimed: what one has passed over is not what comes next."""
        if filter.status == "decided":
            return None
        for other in self._parts.cases.queue(AHEAD, Place.of(case), filter, now, by):
            if other.case_id != case.case_id and _is_for(other, by, filter, now):
                # It may be taken, decided or erased since: what was done here stands, and another one comes next.
                with suppress(Refused, UnknownCase):
                    return self._parts.cases.claim(other.case_id, by, now)
        return self._parts.cases.claim_next(by, now, filter)

    def _decide(self, case_id: str, by: str, form: Form, now: datetime) -> object:
        verdict = form.get("verdict", "")
        if verdict not in get_args(Verdict):
            raise ValueError(f"{verdict!r} is no verdict; use {', '.join(get_args(Verdict))}")
        return self._parts.cases.decide(case_id, verdict, by, now, self._parts.policy.undo_s)  # type: ignore[arg-type]

    def _snooze(self, case_id: str, by: str, form: Form, now: datetime) -> object:
        hours = form.get("hours", "")
        if not (hours.isascii() and hours.isdigit() and len(hours) <= 4 and 1 <= int(hours) <= SNOOZE_LIMIT_H):
            raise ValueError(f"a case is snoozed for 1 to {SNOOZE_LIMIT_H} hours, not {hours[:20]!r}")
        return self._parts.cases.snooze(case_id, now + timedelta(hours=int(hours)), by, now)

    def _assign(self, case_id: str, by: str, form: Form, now: datetime) -> object:
        to = form.get("to", "").strip() or None
        if to is not None and to not in self._colleagues.names():
            raise ValueError(f"{to!r} cannot be given a case: no analyst who can sign in has that name")
        return self._parts.cases.assign(case_id, to, by, now)

    def _escalate(self, case_id: str, by: str, form: Form, now: datetime) -> object:
        lead = self._colleagues.lead_for(case_id, but=by)
        if lead is None:
            raise ValueError("nobody else is a lead; an admin can make somebody one")
        assigned = self._parts.cases.assign(case_id, lead, by, now)
        if assigned.holder(now) == by:
            self._parts.cases.release(case_id, by, now)
        return assigned


def _is_for(case: Case, by: str, filter: QueueFilter, now: datetime) -> bool:
    """Whether somebody should be given this case unasked: the same ones as by `claim_next`."""
    is_others = filter.assigned_to is None and case.assigned_to not in (None, by)
    return case.holder(now) in (None, by) and case.proposed_by != by and not is_others


def _word(form: Form, name: str, what: str) -> str:
    text = form.get(name, "").strip()
    if not text:
        raise ValueError(f"there is nothing in the field; write {what}")
    return text


def _sentence(error: Exception) -> str:
    """An error as a sentence on a page."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
