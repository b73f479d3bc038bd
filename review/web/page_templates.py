"""The templates of all pages, with the words and addresses that they use. Everything in a page is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.templating import Jinja2Templates

from review.web.rule_wording import RULE_FILTERS
from review.web.static_files import StaticFiles
from review.web.wording import FILTERS

ROOT = Path(__file__).parent / "templates"
NAV = (
    ("/", "Live"),
    ("/review", "Queue"),
    ("/rules", "Rules"),
    ("/alerts", "Alerts"),
    ("/figures", "Figures"),
    ("/sql", "SQL"),
)
THEMES = ("light", "dark")


@cache
def page_templates(files: StaticFiles, nav: tuple[tuple[str, str], ...] = NAV) -> Jinja2Templates:
    """Templates that know `person` (None before sign-in), `theme`, `firing` alerts, `static(name)` and `wording`.

    Made once for the same files: compiling them takes longer than any page. `nav` is the address and name of each page
    in the bar; a page says with `at` which of them it is.
    """
    environment = Environment(
        loader=FileSystemLoader(ROOT), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS | RULE_FILTERS
    environment.globals |= {"static": files.address, "nav": nav, "at": ""}
    return Jinja2Templates(env=environment, context_processors=[_of_request])


def _of_request(request: Request) -> dict[str, object]:
    theme, app = request.cookies.get("theme"), request.scope.get("app")
    alerts = getattr(app.state, "alerts", None) if app else None
    return {
        "person": getattr(request.state, "person", None),
        "theme": theme if theme in THEMES else None,
        "firing": alerts.firing if alerts else (),
    }
