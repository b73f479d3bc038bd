"""The analysts' pages put together: the stores, the accounts and what other rooms lend them."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.cold import ARCHIVE_FOLDER
from headrace.learned_verdicts import LearnerLessons
from headrace.review import open_store
from headrace.settings import Settings
from headrace.sign_in_provider import provider_of
from review.accounts import Accounts
from review.review_policy import load_policy
from review.web.parts import Parts
from review.web.site import Site
from review.widget_keys import DeploymentSecret, WidgetKeys
from scoring.explanation import ExactExplainer
from scoring.live_models import registry_of
from scoring.use_case import FRAUD
from stream.archive_sql import ArchiveSql


def open_parts(settings: Settings) -> Parts:
    """The parts of the pages of these settings; whoever opens them closes `cases`.

    Raises `CasesUnavailable`, `InvalidSetting`, `InvalidSite`, and `click.ClickException` for a policy that is none.
    """
    site, provider = Site(settings.review_url), provider_of(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    cases = open_store(settings)
    return Parts(
        cases=cases,
        accounts=Accounts(cases.database),
        clock=lambda: datetime.now(UTC),
        site=site,
        policy=load_policy(settings.review_policy),
        explain=ExactExplainer(FRAUD.name, FRAUD.features, registry_of(settings.home)),
        lessons=LearnerLessons(settings.home),
        provider=provider,
        backtests_at_once=settings.backtests,
        archive=ArchiveSql(settings.home / ARCHIVE_FOLDER, settings.sql_time / 1000, settings.sql_memory),
        widgets=WidgetKeys(cases.database, DeploymentSecret(settings.home, settings.widget_key)),
    )
