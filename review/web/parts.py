"""What the pages are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from starlette.templating import Jinja2Templates

from review.accounts import Accounts
from review.alert_watch import AlertWatch
from review.backtests import RUNNING_LIMIT
from review.case_store import CaseStore
from review.collector import Collector
from review.oidc import Provider
from review.ports import ExactReasons, Lessons
from review.review_policy import ReviewPolicy
from review.rule_desk import RuleDesk
from review.series_history import SeriesHistory
from review.web.off_loop import OffLoop
from review.web.page_templates import page_templates
from review.web.site import Site
from review.web.static_files import StaticFiles
from review.widget_keys import WidgetKeys
from stream.archive_sql import ArchiveSql


@dataclass(frozen=True)
class Parts:
    """The stores, the clock and what other rooms lend: `explain` and `lessons` may be missing.

    `provider`: where people sign in. `collector` and `series`: what the live dashboard shows; whoever made them starts
    and stops them.
    `alerts`: who watches what fires; likewise. `widgets`: the keys that sign what other applications show.
    `archive`: what the SQL console asks.
    """

    cases: CaseStore
    accounts: Accounts
    clock: Callable[[], datetime]
    site: Site = field(default_factory=Site)
    policy: ReviewPolicy = field(default_factory=ReviewPolicy)
    explain: ExactReasons | None = None
    lessons: Lessons | None = None
    provider: Provider | None = None
    collector: Collector | None = None
    series: SeriesHistory | None = None
    alerts: AlertWatch | None = None
    rules: RuleDesk | None = None
    widgets: WidgetKeys | None = None
    archive: ArchiveSql | None = None
    backtests_at_once: int = RUNNING_LIMIT
    off_loop: OffLoop = field(default_factory=OffLoop)
    files: StaticFiles = field(default_factory=StaticFiles.ours)

    def templates(self) -> Jinja2Templates:
        """The templates over these files."""
        return page_templates(self.files)
