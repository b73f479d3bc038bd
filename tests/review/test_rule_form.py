"""What forms of rules send at the ends of what can be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from review.rule_desk import RuleRefused
from review.web.rule_form import period_in

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_period_has_the_whole_of_its_last_day() -> None:
    since, until, words = period_in({"from": "2026-01-01", "to": "2026-01-31"}, NOW)
    assert (since, until) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert words == "from 2026-01-01 to 2026-01-31"


@pytest.mark.parametrize("day", ["9999-12-31", "0000-01-01", "2026-02-30", "x"])
def test_a_day_that_there_is_not_or_none_after_is_refused_in_words(day: str) -> None:
    with pytest.raises(RuleRefused, match="is no day"):
        period_in({"to": day}, NOW)
