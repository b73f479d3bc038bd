"""A tick in words: what each tile says, and the tables of models and of what has drifted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from review.collector import Tick
from review.precision import Precision
from review.scrape import Readings
from review.series import Series
from review.series_formulas import matching
from review.series_table import FOLDERS
from review.web.dashboard_charts import BUDGET_MS, DEADLINE_MS
from review.web.wording import percent

Values = Mapping[str, float]
SLOW_SHARE_ALLOWED = 0.01
LAG_WARN_S, LAG_BAD_S, KEEPER_LAG_S = 2.0, 10.0, 600.0
DEGRADED_WARN, DEGRADED_BAD = 0.01, 0.1
LEARNER_SILENT_S = 60.0
NEARLY_AN_HOUR_S = 3540.0
NOTHING = "–"
DRIFTED_LIMIT = 6


class Tile(NamedTuple):
    """One number with its unit, what there is to add, and a word where it is not as it should be."""

    id: str
    name: str
    chart: str
    series: str
    value: str = NOTHING
    unit: str = ""
    note: str = ""
    warning: str = ""
    is_bad: bool = False


class ModelRow(NamedTuple):
    """One version of one model that scores now."""

    member: str
    version: str
    per_s: str
    auc: str
    average_precision: str
    calibration_error: str
    precision: str


def tiles_of(values: Values, series: Series, at_s: float) -> list[Tile]:
    """The tiles, always the same and in the same order; one that nobody can say has a dash."""
    return [
        _events(values),
        _latency(values),
        _slow(values),
        _flags(values),
        _money(values, series, at_s),
        _degraded(values),
        _lag(values),
        _learner(values),
        _drift(values),
        _clicks(values),
    ]


def _events(values: Values) -> Tile:
    tile = Tile("events", "Events", "events", "events_per_s")
    if (events := values.get("events_per_s")) is None:
        return tile
    slates = values.get("slates_per_s", 0.0)
    note = f"and {amount(slates)} recommendations a second" if slates else f"{amount(events * 3600)} an hour"
    return tile._replace(value=amount(events), unit="/s", note=note)


def _latency(values: Values) -> Tile:
    tile = Tile("latency", "Latency, p99", "latency", "latency_p99_ms", note=f"budget {BUDGET_MS:g} ms")
    if (p99 := values.get("latency_p99_ms")) is None:
        return tile
    note = f"p50 {amount(values.get('latency_p50_ms'))}, p95 {amount(values.get('latency_p95_ms'))} ms"
    warning = "over the deadline" if p99 > DEADLINE_MS else "over budget" if p99 > BUDGET_MS else ""
    return tile._replace(value=amount(p99), unit="ms", note=note, warning=warning, is_bad=p99 > DEADLINE_MS)


def _slow(values: Values) -> Tile:
    tile = Tile("slow", f"Slower than {BUDGET_MS:g} ms", "latency", "slow_share", note="budget 1%")
    if (slow := values.get("slow_share")) is None:
        return tile
    late = values.get("late_share", 0.0)
    note = f"budget 1%; {percent(late)} over {DEADLINE_MS:g} ms" if late else "budget 1%"
    is_over = slow > SLOW_SHARE_ALLOWED
    return tile._replace(value=percent(slow), note=note, warning="over budget" if is_over else "", is_bad=slow > 0.1)


def _flags(values: Values) -> Tile:
    tile = Tile("flags", "Flag rate", "flags", "flag_share")
    if (flagged := values.get("flag_share")) is None:
        return tile
    return tile._replace(value=percent(flagged), note=f"{percent(values.get('decline_share'))} declined")


def _money(values: Values, series: Series, at_s: float) -> Tile:
    seen = seen_words(series, at_s)
    tile = Tile("money", "Money stopped", "money", "", note=seen)
    found = [name.partition(".")[2] for name in series.names if name.startswith("stopped_total.")]
    totals = {currency: hour_total(series, f"stopped_total.{currency}", at_s) for currency in found}
    if not totals:
        return tile
    currency = max(totals, key=lambda currency: (totals[currency], currency))
    held = hour_total(series, f"held_total.{currency}", at_s)
    note = seen + (f"; {amount(held)} held" if held else "")
    if others := sum(1 for other, total in totals.items() if total and other != currency):
        note += f"; {others} more {'currency' if others == 1 else 'currencies'}"
    return tile._replace(series=f"stopped_per_min.{currency}", value=amount(totals[currency]), unit=currency, note=note)


def _degraded(values: Values) -> Tile:
    tile = Tile("degraded", "Degraded", "degraded", "degraded_share")
    if (share := values.get("degraded_share")) is None:
        return tile
    lacked = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("lacked_share.")}
    most = max(lacked, key=lambda name: (lacked[name], name), default="")
    note = f"most lack {most}" if most and lacked[most] else "nothing is missing"
    warning = "degraded" if share > DEGRADED_WARN else ""
    return tile._replace(value=percent(share), note=note, warning=warning, is_bad=share > DEGRADED_BAD)


def _lag(values: Values) -> Tile:
    tile = Tile("lag", "Oldest unread record", "lag", "lag_s")
    if (lag_s := values.get("lag_s")) is None:
        return tile
    by_reader = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("reader_lag_s.")}
    # Keepers write by the block: only minutes of theirs say anything.
    late = {name: lag for name, lag in by_reader.items() if lag >= (0.1 if name in FOLDERS else KEEPER_LAG_S)}
    behind = max(late, key=lambda name: (name in FOLDERS, late[name], name), default="")
    note = f"{behind} is behind" if behind else "all readers keep up"
    warning = "late" if lag_s > LAG_WARN_S or (behind and behind not in FOLDERS) else ""
    return tile._replace(value=amount(lag_s), unit="s", note=note, warning=warning, is_bad=lag_s > LAG_BAD_S)


def _learner(values: Values) -> Tile:
    tile = Tile("learner", "Learner", "quality", "log_loss.live")
    age_s = values.get("learner_age_s")
    if age_s is None:
        return tile
    loss, twin = values.get("log_loss.live"), values.get("log_loss.twin")
    silent, frozen = age_s > LEARNER_SILENT_S, values.get("learner_frozen", 0.0) > 0.0
    warning = "silent" if silent else "stands still" if frozen else ""
    note = f"log loss; its twin {twin:.4g}" if loss is not None and twin is not None else "no labels judged yet"
    if silent:
        note = f"no word for {span(age_s)}"
    return tile._replace(value=NOTHING if loss is None else f"{loss:.4g}", note=note, warning=warning, is_bad=silent)


def _drift(values: Values) -> Tile:
    tile = Tile("drift", "Drifted", "drift", "drift_psi")
    alarms, age_s = values.get("drift_alarms"), values.get("drift_age_s")
    if alarms is None or age_s is None:
        return tile._replace(note="no report yet" if values else "")
    psi = values.get("drift_psi")
    note = (f"PSI up to {psi:.2g}, " if psi is not None else "seen ") + f"{span(age_s)} ago"
    unit = "measure" if alarms == 1 else "measures"
    return tile._replace(value=f"{alarms:.0f}", unit=unit, note=note, warning="drifted" if alarms else "")


def _clicks(values: Values) -> Tile:
    tile = Tile("clicks", "Click-through", "clicks", "click_share", note="in ten minutes")
    if (share := values.get("click_share")) is None:
        return tile
    return tile._replace(value=percent(share), note=f"of {amount(values.get('shown_per_s'))} items shown a second")


def seen_words(series: Series, at_s: float) -> str:
    """Of which time `hour_total` tells: an hour, or as long as these pages have looked."""
    seen_s = at_s - series.began_s
    return f"in the last {span(seen_s)}" if 0.0 <= seen_s < NEARLY_AN_HOUR_S else "in the last hour"


def hour_total(series: Series, name: str, at_s: float) -> float:
    """How much a total grew in the last hour, as far as it is known."""
    found = series.since(name, at_s - 3600.0)
    if not found:
        return 0.0
    # One that came after the others began at nothing; one that was there from the first look did not.
    first = series.since("events_total", at_s - 3600.0)
    is_new = bool(first) and found[0].at_s > first[0].at_s
    return found[-1].value - (0.0 if is_new else found[0].value)


def models_of(
    standing: Readings, rates: Mapping[tuple[str, str], float], precision: Iterable[Precision]
) -> list[ModelRow]:
    """The versions that score now, with what is known of their quality."""
    figures: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for labels, value in matching(standing.get("headrace_evaluation_figure", {}), {}):
        figures[labels.get("figure", ""), labels.get("member", "")][labels.get("end", "")] = value
    rows = []
    for labels, value in matching(standing.get("headrace_model", {}), {}):
        member, version = labels.get("member", ""), labels.get("version", "")
        per_s = rates.get((member, version))
        if value:
            rows.append(
                ModelRow(
                    member,
                    version,
                    amount(per_s),
                    spread(figures["auc", member]),
                    spread(figures["average_precision", member]),
                    spread(figures["calibration_error", member]),
                    right_of(member, version, precision),
                )
            )
    return sorted(rows)


def right_of(member: str, version: str, precision: Iterable[Precision]) -> str:
    """How many of the flags that a version led were fraud. The online model has one for every label it learned."""
    name = f"{member} {version}"
    found = [one for one in precision if one.name == name or one.name.startswith(f"{name}.")]
    decided, fraud = sum(one.decided for one in found), sum(one.fraud for one in found)
    return f"{percent(fraud / decided)} of {decided:,}" if decided else NOTHING


def drifted_of(standing: Readings) -> list[tuple[str, str]]:
    """The features and scores that lie farthest from what the champion was trained on, with their index."""
    found = [
        (value, labels.get("subject", ""))
        for labels, value in matching(standing.get("headrace_drift_value", {}), {"measure": "psi"})
        if math.isfinite(value)
    ]
    return [(subject, f"{value:.3f}") for value, subject in sorted(found, reverse=True)[:DRIFTED_LIMIT]]


def trouble_of(tick: Tick, answered: Callable[[], float | None]) -> str:
    """What is wrong with the numbers themselves, since when; nothing where they are right."""
    if not tick.trouble:
        return f"{tick.away}. The numbers are those of the others." if tick.away else ""
    last_s = answered()
    since = f" No word since {datetime.fromtimestamp(last_s, UTC):%H:%M:%S} UTC." if last_s else ""
    return f"{tick.trouble[:1].upper()}{tick.trouble[1:]}.{since}"


def spread(ends: Mapping[str, float]) -> str:
    """A figure with its interval.

    >>> spread({"value": 0.934, "low": 0.91, "high": 0.952}), spread({})
    ('0.934 (0.910–0.952)', '–')
    """
    if "value" not in ends:
        return NOTHING
    interval = f" ({ends['low']:.3f}–{ends['high']:.3f})" if {"low", "high"} <= ends.keys() else ""
    return f"{ends['value']:.3f}{interval}"


def amount(value: float | None) -> str:
    """A number in three digits or so.

    >>> [amount(value) for value in (0.0, 0.0421, 1.234, 56.78, 1234.5, 12_345_678.0, None)]
    ['0', '0.042', '1.23', '56.8', '1,234', '12.3M', '–']
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 10_000_000:
        return f"{value / 1e6:.1f}M"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if size < 0.1 else f"{value:.3g}"


def span(seconds: float) -> str:
    """A stretch of time in its largest unit.

    >>> span(42), span(7200), span(200_000)
    ('42 s', '2 h', '2 d')
    """
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
