"""The pages of rules put together: the rule book in Redis, the archive in the home, the policy for backtests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headrace.assembly import open_rule_log
from headrace.cards import open_guard
from headrace.rule_desk import BookDesk
from headrace.rule_trial import TrialBounds
from headrace.rules import chooser
from headrace.settings import Settings
from review.review_policy import load_policy
from scoring.use_case import FRAUD
from stream.archive import Archive

TIMEOUT_MS = 3000.0
"""How long a page waits for Redis."""


def open_rule_desk(settings: Settings) -> BookDesk | None:
    """The desk of these settings; None where no Redis is named. Whoever opens it closes it."""
    if not settings.redis:
        return None
    return BookDesk(
        open_rule_log(settings, FRAUD, TIMEOUT_MS),
        FRAUD,
        Archive(settings.home / "archive"),
        open_guard(settings, make_key=False),
        timedelta(milliseconds=settings.label_delay),
        chooser,
        lambda: datetime.now(UTC),
        load_policy(settings.review_policy).lists_four_eyes,
        TrialBounds(settings.backtest_time / 1000, settings.backtest_memory),
    )
