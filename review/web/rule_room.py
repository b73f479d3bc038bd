"""What all pages of rules have in common: the desk, how a page is made, and what is said where the book is away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import wraps

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.templating import Jinja2Templates

from review.backtests import Backtests
from review.rule_desk import RuleDesk, RulesUnavailable
from review.web.needs import Page
from review.web.off_loop import OffLoop
from review.web.parts import Parts
from review.web.refusal import refusal_pages, wants_page

NO_STORE = {"cache-control": "no-store"}
THREADS = 4


class RuleRoom:
    """The desk and the backtests of one application."""

    def __init__(self, parts: Parts, templates: Jinja2Templates) -> None:
        self.parts = parts
        self.templates = templates
        self.backtests = Backtests(parts.clock, parts.backtests_at_once)
        # A book that hangs, or a suggestion that takes seconds, holds up no case.
        self.off_loop = OffLoop(THREADS)
        self._refuse = refusal_pages(templates)

    @property
    def desk(self) -> RuleDesk:
        """The desk; pages are only asked where there is one."""
        assert self.parts.rules is not None
        return self.parts.rules

    def answers(self, page: Page) -> Page:
        """The page, or what to set where there is no book, or that the book does not answer."""

        @wraps(page)
        async def answered(request: Request) -> Response:
            if self.parts.rules is None:
                if not wants_page(request):
                    return PlainTextResponse("there is no rule book here: set HEADRACE_REDIS\n", 503)
                return self.page(request, "rules_none.html", status=503)
            try:
                return await page(request)
            except RulesUnavailable as error:
                return self.refuse(request, 503, f"{error}; try again soon", {"retry-after": "3"})

        return answered

    def refuse(self, request: Request, status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
        """Say no."""
        return self._refuse(request, status, words, dict(headers or {}))

    def page(self, request: Request, name: str, status: int = 200, **context: object) -> Response:
        """A page under "Rules"."""
        person = request.state.person
        known = {"at": "/rules", "now": self.parts.clock(), "problem": "", "may_act": person.may("analyst")}
        known |= {"may_lead": person.may("lead"), "done": DONE.get(request.query_params.get("done", ""), "")}
        if isinstance(form := context.get("form"), Mapping):
            # What a form lacks is empty in its fields.
            context["form"] = defaultdict(str, form)
        return self.templates.TemplateResponse(request, name, {**known, **context}, status, NO_STORE)


async def form_of(request: Request) -> dict[str, str]:
    """The form's fields, each once."""
    form = await request.form(max_fields=500, max_files=0)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def from_its_first_word(form: Mapping[str, str]) -> dict[str, str]:
    """The form with a condition that begins at its first word: where its fault is, is counted from there."""
    return {**form, "when": form["when"].strip()} if "when" in form else dict(form)


DONE = {
    "written": "Written. It changes nothing yet: backtest it, put it in shadow, and another person approves it",
    "shadow": "It is in shadow: scorers ask it and note what it would do, nothing changes",
    "approve": "It is live, in every scorer within a second",
    "expire": "It has ended, in every scorer within a second",
    "snooze": "It is silent for that one",
    "wake": "It is heard again",
    "put": "They are on the list, in every scorer within a second",
    "take-off": "They are off the list, in every scorer within a second",
    "waits": "A live rule asks this list, so the change waits for a lead who is somebody else",
    "urgent": "They are on the list for a day at most; a lead who is somebody else has to agree to more",
    "agreed": "The list is changed, in every scorer within a second",
    "refused": "That change is off the table",
}
"""What `?done=` says: words of ours alone, since anybody can make a link."""
