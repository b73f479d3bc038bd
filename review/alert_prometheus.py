"""The same conditions as rules for Prometheus."""

from __future__ import annotations

import json

from review.alert_condition import Alerts, Condition
from review.alert_series import MEANINGS, Meaning
from review.alert_words import condition_words

HEAD = """# Written by `headrace review alerts --prometheus`: the conditions of the alerts file, to be changed there.
# Where a series is missing Prometheus ends an alert; the pages keep it, and say since when there has been no word.
groups:
  - name: headrace-alerts
    rules:
"""


def rules(alerts: Alerts) -> str:
    """A rule file. An alert ends where the file says: its `clear` level holds as long as it is firing."""
    return HEAD + "".join(_rule(condition) for condition in alerts.alerts)


def alert_name(name: str) -> str:
    """A name as Prometheus's alerts have it; no other rule of ours begins like it.

    >>> alert_name("flag-rate-jump")
    'HeadraceAlertFlagRateJump'
    """
    return "HeadraceAlert" + "".join(part.capitalize() for part in name.split("-"))


def expression(condition: Condition) -> str:
    """PromQL that is true while the alert's level is passed, or, once it is firing, while it is not clear."""
    begin = _passed(condition, condition.level)
    if condition.clear is None or condition.clear == condition.level:
        return begin
    firing = f'ALERTS{{alertname="{alert_name(condition.name)}",alertstate="firing"}}'
    return f"({begin}) or ({_passed(condition, condition.clear_level)}) and on() {firing}"


def _passed(condition: Condition, level: float) -> str:
    meaning = MEANINGS[condition.series]
    if condition.silent_s is not None:
        return f"absent({meaning.proof or meaning.metrics[0]})"
    if condition.burn:
        burn = condition.burn
        shares = (_share(meaning, MEANINGS[burn.of], _span(span_s)) for span_s in (burn.long_s, burn.short_s))
        return " and ".join(f"{share} > {level:g} * {burn.budget:g}" for share in shares)
    if condition.jump:
        jump = condition.jump
        now = meaning.expression(_span(jump.window_s))
        before = meaning.expression(_span(jump.window_s), _span(jump.before_s))
        return f"({now}) > {level:g} * ({before}) and ({now}) - ({before}) >= {jump.least:g}"
    sign = "<" if condition.kind == "below" else ">"
    window = _span(condition.window_s) if condition.window_s is not None else ""
    return f"{meaning.expression(window)} {sign} {level:g}"


def _share(bad: Meaning, every: Meaning, window: str) -> str:
    return f"({bad.expression(window)}) / ({every.expression(window)})"


def _rule(condition: Condition) -> str:
    """In YAML, whose strings may be JSON's."""
    waits_s = condition.silent_s if condition.silent_s is not None else condition.for_s
    lines = [f"- alert: {alert_name(condition.name)}", f"  expr: {json.dumps(expression(condition))}"]
    if waits_s:
        lines.append(f"  for: {_span(waits_s)}")
    if condition.clear_for_s:
        lines.append(f"  keep_firing_for: {_span(condition.clear_for_s)}")
    lines += [
        f"  labels: {{severity: {condition.severity}}}",
        "  annotations:",
        f"    summary: {json.dumps(_plain(condition.title))}",
        f"    description: {json.dumps(_plain(condition_words(condition)))}",
        f"    remedy: {json.dumps(_plain(condition.remedy))}",
        f"    link: {json.dumps(_plain(condition.link))}",
    ]
    return "".join(f"      {line}\n" for line in lines)


def _plain(text: str) -> str:
    """Without what Prometheus would take for a template."""
    return text.replace("{{", "{ {")


def _span(seconds: float) -> str:
    """A duration as Prometheus writes it."""
    return f"{round(seconds)}s" if seconds % 60 else f"{round(seconds / 60)}m"
