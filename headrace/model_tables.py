"""Models as people read them: a manifest in plain words, the history of aliases, two manifests side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.table import Table

from models.aliases import AliasChange
from models.manifest import Manifest, SearchSummary, SegmentMetrics
from training.gates import Verdict


class Line(NamedTuple):
    """One thing that differs between two versions."""

    part: str
    what: str
    one: str
    other: str
    change: str = ""


def gates_table(title: str, verdicts: Iterable[Verdict], caption: str | None = None) -> Table:
    """What each gate said of a version."""
    table = Table(title=title, caption=caption)
    for heading in ("gate", "", "what it found"):
        table.add_column(heading, overflow="fold")
    for verdict in verdicts:
        word = {True: "[green]passed", False: "[red]FAILED", None: "-"}[verdict.passed]
        table.add_row(verdict.gate, word, verdict.says)
    return table


def facts_of(manifest: Manifest, aliases: str) -> dict[str, str]:
    """A manifest in plain words, by heading."""
    difference = manifest.max_onnx_difference
    latency = manifest.single_row_latency_us
    slope, intercept = manifest.calibration.slope, manifest.calibration.intercept
    return {
        "model": f"{manifest.name} {manifest.version}",
        "aliases": aliases or "none",
        "family": manifest.family or "unknown",
        "made": f"{manifest.created_at:%Y-%m-%d %H:%M} by code {manifest.git_revision or 'unknown'}",
        "fitted on events": f"{manifest.window_start:%Y-%m-%d %H:%M} to {manifest.window_end:%Y-%m-%d %H:%M}"
        + (", made up" if manifest.simulated else ""),
        "labels known by": f"{manifest.label_cutoff:%Y-%m-%d %H:%M}",
        "features": f"{len(manifest.feature_names)} of definition {manifest.definition_hash}",
        "parameters": ", ".join(f"{key}={value}" for key, value in manifest.parameters.items()) or "none stated",
        "search": _searched(manifest.search),
        "calibration": "none" if manifest.calibration.is_identity else f"slope {slope:.4g}, intercept {intercept:.4g}",
        "calibration error": number(manifest.calibration_error),
        "ONNX against native": "not measured" if difference is None else f"differs by at most {difference:.1e}",
        "one row takes": f"{latency:.0f} us" if latency else "not measured",
    }


def _searched(search: SearchSummary | None) -> str:
    if search is None:
        return "none"
    value, default = number(search.value), number(search.default_value)
    return (
        f"{search.trials} trials of {', '.join(search.families)} with seed {search.seed}, ended by {search.ended}; "
        f"{search.objective} {value} on {search.folds} folds, with the defaults {default}"
    )


def metrics_table(manifest: Manifest) -> Table:
    """The figures on the later days, all rows first, then by part."""
    table = Table(title="measured on later days: " + _measured(manifest))
    for heading in ("part", "rows", "frauds", "mean score", "average precision (95%)"):
        table.add_column(heading)
    for name, part in manifest.segments.items():
        precision = "undefined" if part.average_precision is None else str(part.average_precision)
        table.add_row(name, f"{part.rows:,}", f"{part.frauds:,}", f"{part.mean_score:.5f}", precision)
    return table


def history_table(changes: list[AliasChange]) -> Table:
    """Who let which alias mean what, when and why."""
    table = Table(title="aliases, oldest first")
    for heading in ("when (UTC)", "alias", "version", "by", "why"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        notes = ["rollback"] * change.rollback + [f"{change.share}% of the entities"] * bool(change.share)
        notes += [f"FORCED past {', '.join(change.forced)}"] * bool(change.forced)
        why = "; ".join([*notes, change.why] if change.why else notes)
        table.add_row(f"{change.at:%Y-%m-%d %H:%M:%S}", change.alias, change.version or "nothing", change.by, why)
    return table


def differences(one: Manifest, other: Manifest) -> list[Line]:
    """What differs: data, definition, parameters, metrics, also by part, calibration, conversion. Equal is left out."""
    lines = [
        Line("data", "first event", f"{one.window_start:%Y-%m-%d %H:%M}", f"{other.window_start:%Y-%m-%d %H:%M}"),
        Line("data", "last event", f"{one.window_end:%Y-%m-%d %H:%M}", f"{other.window_end:%Y-%m-%d %H:%M}"),
        Line("data", "labels known by", f"{one.label_cutoff:%Y-%m-%d %H:%M}", f"{other.label_cutoff:%Y-%m-%d %H:%M}"),
        Line("code", "git revision", one.git_revision or "unknown", other.git_revision or "unknown"),
        Line("definition", "hash", one.definition_hash, other.definition_hash),
        Line("definition", "features of this alone", _alone(one, other), _alone(other, one)),
        Line("parameters", "family", one.family or "unknown", other.family or "unknown"),
    ]
    for key in sorted(one.parameters.keys() | other.parameters.keys()):
        was, now = (str(each.parameters.get(key, "not there")) for each in (one, other))
        lines.append(Line("parameters", key, was, now))
    for key in sorted(one.metrics.keys() | other.metrics.keys()):
        lines.append(_figures("metrics", key, one.metrics.get(key), other.metrics.get(key)))
    lines += _by_segment(one, other)
    lines += [
        _figures("calibration", "slope", one.calibration.slope, other.calibration.slope),
        _figures("calibration", "intercept", one.calibration.intercept, other.calibration.intercept),
        _figures("calibration", "error", one.calibration_error, other.calibration_error),
        _figures("conversion", "ONNX difference", one.max_onnx_difference, other.max_onnx_difference),
        _figures("conversion", "one row (us)", one.single_row_latency_us, other.single_row_latency_us),
    ]
    return [line for line in lines if line.one != line.other]


def differences_table(one: Manifest, other: Manifest) -> Table:
    """The same as a table."""
    table = Table(title=f"{one.name}: {one.version} and {other.version}")
    for heading in ("", "", one.version, other.version, "change"):
        table.add_column(heading, overflow="fold")
    for line in differences(one, other):
        table.add_row(*line)
    return table


def number(value: float | None) -> str:
    """A figure to four digits."""
    return "undefined" if value is None else f"{value:.4g}"


def _figures(part: str, what: str, one: float | None, other: float | None) -> Line:
    change = "" if one is None or other is None else f"{other - one:+.4g}"
    return Line(part, what, number(one), number(other), change)


def _by_segment(one: Manifest, other: Manifest) -> Iterator[Line]:
    for name in dict.fromkeys([*one.segments, *other.segments]):
        was, now = (_precision(manifest.segments.get(name)) for manifest in (one, other))
        yield Line("average precision", name, was, now)


def _precision(part: SegmentMetrics | None) -> str:
    if part is None:
        return "not there"
    return "undefined" if part.average_precision is None else str(part.average_precision)


def _alone(one: Manifest, other: Manifest) -> str:
    return ", ".join(name for name in one.feature_names if name not in other.feature_names) or "none"


def _measured(manifest: Manifest) -> str:
    return ", ".join(f"{key} {number(value)}" for key, value in manifest.metrics.items()) or "nothing"
