"""The file of conditions: read whole, or refused by field, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from review.alert_file import InvalidAlerts, load_alerts
from review.alert_words import condition_words

ONE = """
[[alerts]]
name = "lag"
title = "Behind"
series = "lag_s"
above = 10
for = "2m"
severity = "page"
link = "/"
remedy = "start a worker"
"""


def test_the_shipped_conditions_cover_budget_lag_drift_flags_dead_letters_degradation_and_silence() -> None:
    alerts = load_alerts()
    by_series = {one.series: one for one in alerts.alerts}
    assert {"slow_per_s", "failed_per_s", "lag_s", "drift_alarms", "flag_share"} <= set(by_series)
    assert {"dead_letters_per_s", "degraded_share", "learner_age_s", "answers_per_s"} <= set(by_series)
    assert {one.kind for one in alerts.alerts} == {"above", "burn", "jump", "silent"}
    assert all(condition_words(one) and one.remedy for one in alerts.alerts)


def test_durations_are_written_as_people_write_them(tmp_path: Path) -> None:
    alerts = load_alerts(_file(tmp_path, 'every = "30s"\n' + ONE))
    assert (alerts.every_s, alerts.alerts[0].for_s, alerts.alerts[0].clear_for_s) == (30.0, 120.0, 60.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"2m"', '"soon"'), ("'lag'", "'for'", "'soon'", "such as '5m'")),
        (('"2m"', "120"), ("'for'", "120", "such as '5m'")),
        (("above = 10", 'above = "ten"'), ("'above'", "'ten'", "float")),
        (("above = 10", "above = 10\nbelow = 3"), ("'above', 'below'", "exactly one of")),
        (("above = 10\n", ""), ("[]", "exactly one of")),
        (('"lag_s"', '"lagg"'), ("'series'", "'lagg'", "choose one of", "lag_s")),
        (('"page"', '"loud"'), ("'severity'", "'loud'")),
        (("above = 10", "above = 10\nclear = 12"), ("'clear'", "12", "at most the level, 10")),
        (("above = 10", "below = 10\nclear = 8"), ("'clear'", "8", "at least the level, 10")),
        (("above = 10", "abov = 10"), ("abov", "'lag'")),
        (('"/"', '"https://elsewhere"'), ("'link'", "https://elsewhere")),
        (('"/"', '"//elsewhere"'), ("'link'", "//elsewhere")),
        (("above = 10", "jump = { ratio = 0.5 }"), ("'jump.ratio'", "0.5")),
        (("above = 10", 'silent = "30d"'), ("'silent'", "30d")),
        (('"lag"', '"Lag!"'), ("'name'", "Lag!")),
        (
            ("above = 10", 'burn = { of = "no", budget = 0.1, factor = 2, long = "1h", short = "5m" }'),
            ("'burn.of'", "'no'", "choose one of"),
        ),
        (
            ("above = 10", 'burn = { of = "lag_s", budget = 0.1, factor = 2, long = "5m", short = "5m" }'),
            ("'burn.short'", "300", "less than long"),
        ),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_a_remedy(
    tmp_path: Path, change: tuple[str, str], told: tuple[str, ...]
) -> None:
    assert change[0] in ONE
    with pytest.raises(InvalidAlerts) as raised:
        load_alerts(_file(tmp_path, ONE.replace(*change, 1)))
    assert all(words in str(raised.value) for words in told), str(raised.value)
    assert "review/alerts.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ONE + ONE, "as another one's"),
        ("every = '0s'\n" + ONE, "'every'"),
        ("alerts = 3", "[[alerts]]"),
        ("alerts = [1]", "[[alerts]]"),
        ("= 3", "cannot be read"),
        ("whenever = 3\n" + ONE, "whenever"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidAlerts, match=r"alerts\.toml") as raised:
        load_alerts(_file(tmp_path, text))
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidAlerts, match="copy of"):
        load_alerts(tmp_path / "nowhere.toml")


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path
