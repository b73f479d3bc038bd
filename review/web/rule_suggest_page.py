"""Rules that are suggested from decided cases: those that are selected in the queue, or that a filter finds."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review.case_filter import QueueFilter
from review.interval import Interval, wilson
from review.judged import examples_of, newest_examples
from review.rule_facts import Example, Suggested, Suggestion
from review.web.queue_address import address_of, chips, filter_in
from review.web.rule_room import RuleRoom

IDS_LIMIT = 200
FILTERED_LIMIT = 1000
"""How many of a filter's cases are looked at, the newest verdicts first."""
LEAST_OF_A_KIND = 20
"""Where fewer of the chosen cases are fraud, or good, the newest others of that kind stand beside them."""
NAME_WORDS = 3


class Offer(NamedTuple):
    """A suggestion with its figures, and the address of the editor that begins with it."""

    suggestion: Suggestion
    precision: Interval | None
    recall: float
    address: str


class RuleSuggestPage:
    """`/rules/suggest`."""

    def __init__(self, room: RuleRoom) -> None:
        self._room = room

    async def page(self, request: Request) -> Response:
        """`GET /rules/suggest`: from `?ids=`, or from the decided cases of a queue's filter."""
        ids = [one for one in request.query_params.get("ids", "").split(",") if one][:IDS_LIMIT]
        filter = msgspec.structs.replace(filter_in(request.query_params), status="decided")
        context = await self._room.off_loop(self._read, ids, filter, request.state.person.name)
        return self._room.page(request, "rule_suggest.html", **context)

    async def chosen(self, request: Request) -> Response:
        """`POST /rules/suggest`: from what is ticked in the queue, to the page whose address says it."""
        ids = [str(one) for one in (await request.form()).getlist("ids")][:IDS_LIMIT]
        address = f"/rules/suggest?{urlencode({'ids': ','.join(ids)})}" if ids else "/rules/suggest"
        if "hx-request" in request.headers:
            # The queue's script would put this page's middle into its own.
            return Response(status_code=204, headers={"hx-redirect": address})
        return RedirectResponse(address, 303)

    def _read(self, ids: list[str], filter: QueueFilter, by: str) -> dict[str, Any]:
        cases, now = self._room.parts.cases, self._room.parts.clock()
        chosen = ids or [case.case_id for case in cases.queue(FILTERED_LIMIT, filter=filter, now=now, by=by)]
        examples = examples_of(cases, chosen)
        counts = _count(examples)
        known = {one.decision.event_id for one in examples}
        beside: list[Example] = []
        for is_fraud in (True, False):
            if counts[is_fraud] < LEAST_OF_A_KIND and counts[not is_fraud]:
                newest = newest_examples(cases, "fraud" if is_fraud else "legit")
                beside += [one for one in newest if one.decision.event_id not in known]
        suggested = self._room.desk.suggest([*examples, *beside])
        return {
            "ids": ids,
            "chips": chips(filter)[1:] if not ids else [],
            "here": address_of(filter),
            "filter": filter,
            "chosen": counts,
            "beside": _count(beside),
            "suggested": suggested,
            "offers": _offers(suggested),
            "rules": cases.rules(),
            "limit": FILTERED_LIMIT,
        }


def _count(examples: list[Example]) -> dict[bool, int]:
    frauds = sum(one.is_fraud for one in examples)
    return {True: frauds, False: len(examples) - frauds}


def _offers(suggested: Suggested) -> list[Offer]:
    offers = []
    for one in suggested.suggestions:
        name = "-and-".join(condition.split(" ", 1)[0].replace("_", "-") for condition in one.conditions[:NAME_WORDS])
        fields = {"name": name[:64], "when": one.when, "action": "review", "because": one.words[:500]}
        offers.append(
            Offer(
                one,
                wilson(one.fraud, one.fraud + one.legit),
                one.fraud / suggested.fraud if suggested.fraud else 0.0,
                f"/rules/new?{urlencode(fields)}",
            )
        )
    return offers
