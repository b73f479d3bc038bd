"""The conditions as Prometheus's rules."""

from __future__ import annotations

from typing import Any

import yaml  # type: ignore[import-untyped]

from review.alert_file import load_alerts
from review.alert_prometheus import expression, rules
from review.alert_series import MEANINGS
from review.series_table import row_of
from tests.review.alert_numbers import alerts, condition


def written(*conditions: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(rules(alerts(*conditions)))["groups"][0]["rules"]
    return found


def test_every_shipped_condition_is_a_rule_of_its_severity() -> None:
    shipped = load_alerts().alerts
    found = written(*shipped)
    assert [rule["labels"]["severity"] for rule in found] == [one.severity for one in shipped]
    assert [rule["annotations"]["remedy"] for rule in found] == [one.remedy for one in shipped]
    assert len({rule["alert"] for rule in found}) == len(shipped)
    for rule in found:
        assert rule["expr"].count("(") == rule["expr"].count(")") and "rate(" not in rule["expr"].replace(
            "rate(head", ""
        )


def test_every_series_of_alerts_is_one_of_the_live_pages() -> None:
    assert [name for name in MEANINGS if row_of(name) is None] == []


def test_where_an_alert_clears_elsewhere_it_goes_on_until_there() -> None:
    (rule,) = written(condition())
    assert rule["expr"] == (
        '(max(headrace_lag_seconds{group=~"worker|relay"}) > 10) or '
        '(max(headrace_lag_seconds{group=~"worker|relay"}) > 5) '
        'and on() ALERTS{alertname="HeadraceAlertLag",alertstate="firing"}'
    )
    assert (rule["for"], rule["keep_firing_for"]) == ("1m", "1m")


def test_a_budget_is_of_both_windows_and_a_jump_of_the_hour_before() -> None:
    burn = {"of": "scores_per_s", "budget": 0.01, "factor": 14.4, "long": 3600.0, "short": 300.0}
    both = expression(condition(series="failed_per_s", burn=burn)).split(" and ")
    assert [("[60m]" in part, "[5m]" in part) for part in both] == [(True, False), (False, True)]
    assert all(part.endswith("> 14.4 * 0.01") for part in both)
    jump = {"ratio": 2.0, "least": 0.01, "window": 900.0, "before": 86400.0}
    assert "headrace_outcomes_total[15m] offset 1440m" in expression(condition(series="flag_share", jump=jump))


def test_silence_is_absence_for_so_long() -> None:
    (rule,) = written(condition(series="answers_per_s", silent=120.0))
    # Not of the answers: a service that nobody asks has none, and is there.
    assert (rule["expr"], rule["for"]) == ("absent(headrace_breaker_state)", "2m")
    (rule,) = written(condition(series="learner_age_s", silent=120.0))
    assert rule["expr"] == "absent(headrace_online_age_seconds)"


def test_words_of_the_file_are_no_template_and_break_no_yaml() -> None:
    (rule,) = written(condition(title='a "b": {{ $value }} \n- c', remedy="d: #e"))
    assert rule["annotations"]["summary"] == 'a "b": { { $value }} \n- c' and rule["annotations"]["remedy"] == "d: #e"
