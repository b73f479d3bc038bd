"""Saying no: a page for people, one line for the page's own requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.templating import Jinja2Templates

Refuse = Callable[[Request, int, str, Mapping[str, str]], Response]
"""An answer of a status that says a sentence, with headers."""

TITLES = {
    400: "That cannot be understood",
    403: "Not yours to do",
    404: "Nothing here",
    408: "Too slow",
    410: "This link is over",
    413: "Too large",
    429: "Too fast",
    503: "Not now",
}


CASES_AWAY = (
    "the cases' database does not answer. Scoring goes on without it; what it flags waits on the log and becomes cases "
    "once the database is back. These pages look again each time they are asked: the log of this process and 'headrace "
    "doctor' say what is wrong with the database"
)
CASES_NEWER = (
    "the cases were written by a newer version of Headrace than answers here, and are left alone. Scoring goes on; "
    "what it flags waits on the log. Run the newer version here too, or restore the cases' backup from before it"
)


def wants_page(request: Request) -> bool:
    """Whether a person's browser goes to a new page with this, rather than a page asking by itself."""
    return "hx-request" not in request.headers and "text/html" in request.headers.get("accept", "")


def plain_refusal(request: Request, status: int, sentence: str, headers: Mapping[str, str]) -> Response:
    """One line of text."""
    return PlainTextResponse(sentence + "\n", status, headers=dict(headers))


def refusal_pages(templates: Jinja2Templates) -> Refuse:
    """A page for people, a line for the rest."""

    def refuse(request: Request, status: int, sentence: str, headers: Mapping[str, str]) -> Response:
        if not wants_page(request):
            return plain_refusal(request, status, sentence, headers)
        title = TITLES.get(status, "That did not work")
        # Only what was asked for with GET can be asked for again by a link; two slashes would begin another's address.
        here = request.scope["path"] if status == 503 and request.method == "GET" else ""
        again = quote(here) if not here.startswith("//") else ""
        context = {"refusal": title, "sentence": sentence, "again": again}
        return templates.TemplateResponse(request, "refused.html", context, status_code=status, headers=dict(headers))

    return refuse
