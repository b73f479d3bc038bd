"""A backtest as it runs and what it found: a page of its own for a text that is in no book, a part of a rule's page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review.backtests import Backtest
from review.interval import wilson
from review.rule_facts import Findings
from review.web.hits_chart import hits_chart
from review.web.rule_room import RuleRoom
from review.web.rule_wording import rule_address


class BacktestPage:
    """`/rules/trials/{id}`."""

    def __init__(self, room: RuleRoom) -> None:
        self._room = room

    async def page(self, request: Request) -> Response:
        """`GET /rules/trials/{id}`: alone for a script that waits, else with a page around it."""
        trial = self._room.backtests.find(request.path_params["id"])
        if trial is None:
            words = "this backtest is not remembered any more; its figures are in the rule's history. Make it again"
            return self._room.refuse(request, 404, words)
        is_part = "hx-request" in request.headers
        context = backtest_context(trial, self._room.parts.clock())
        answer = self._room.page(request, "trial_part.html" if is_part else "trial.html", **context)
        if is_part and not trial.is_under_way and trial.text is None:
            # What was found changes the rest of a rule's page too. A script reads it again, unless somebody types.
            answer.headers["hx-trigger-after-swap"] = "backtest-done"
        return answer

    async def cancel(self, request: Request) -> Response:
        """`POST /rules/trials/{id}/cancel`."""
        trial = self._room.backtests.find(request.path_params["id"])
        if trial is None:
            return self._room.refuse(request, 404, "this backtest is not remembered any more")
        self._room.backtests.cancel(trial.id)
        where = f"/rules/trials/{trial.id}" if trial.text else f"{rule_address(trial.name)}?trial={trial.id}#backtest"
        return RedirectResponse(where, 303)


def backtest_context(trial: Backtest | None, now: datetime) -> dict[str, Any]:
    """What the templates of a backtest need; of none too."""
    findings = None if trial is None else trial.findings
    elapsed_s = 0 if trial is None else max(0, round((now - trial.begun_at).total_seconds()))
    return {"trial": trial, "elapsed_s": elapsed_s, **findings_context(findings)}


def findings_context(findings: Findings | None) -> dict[str, Any]:
    """The drawing and the interval of what was found."""
    if findings is None:
        return {"findings": None, "chart": None, "interval": None}
    report = findings.report
    chart = None
    if report.since is not None and report.until is not None and findings.days:
        days = report.since.astimezone(UTC).date(), report.until.astimezone(UTC).date()
        chart = hits_chart(findings.days, *days)
    return {"findings": findings, "chart": chart, "interval": wilson(report.fraud, report.judged)}
