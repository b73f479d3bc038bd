"""Prometheus's text format, written by ourselves: what prometheus_client takes for it is some scores' time.

Its `generate_latest` sorts and escapes the labels of every sample at every scrape, 4 us a line. The series stay the
same from scrape to scrape, so how their lines begin is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from scoring.metric_table import EVERY, Metric
from scoring.tally import Counts, Labels

KNOWN_LIMIT = 20_000
_known: dict[tuple[str, Labels], tuple[tuple[str, str], ...]] = {}
"""By metric and values of labels: each sample's name and how its line begins. Versions come and go: it is bounded."""


def counts_text(counts: Counts, table: Iterable[Metric] = EVERY.values(), names: Collection[str] | None = None) -> str:
    """The metrics of the table that have a value. With `names`, the samples of these names alone, without comments."""
    parts: list[str] = []
    for metric in table:
        if metric.kind == "histogram":
            if tallies := counts.histograms.get(metric.name):
                parts += _comments(metric, names)
                for labels, counted in sorted(tallies.items()):
                    whole = [*accumulate(counted[:-1])]
                    parts += _lines(metric, labels, (*whole, whole[-1], counted[-1]), names)
        elif values := (counts.counters if metric.kind == "counter" else counts.gauges).get(metric.name):
            parts += _comments(metric, names)
            for labels, value in sorted(values.items()):
                parts += _lines(metric, labels, (value,), names)
    return "".join(parts)


def families_text(families: Iterable[Family]) -> str:
    """Prometheus's families as text: counters and gauges alone, which is what reports are told in."""
    parts: list[str] = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        parts.append(f"# HELP {name} {_in_comment(family.documentation)}\n# TYPE {name} {family.type}\n")
        for sample in family.samples:
            parts.append(f"{beginning(sample.name, sample.labels)}{number(sample.value)}\n")
    return "".join(parts)


def only(text: str, names: Collection[str]) -> str:
    r"""The lines of the samples that are called so.

    >>> only('# HELP a A.\na{b="1"} 2\nab 3\n', {"a"})
    'a{b="1"} 2\n'
    """
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.partition(" ")[0].partition("{")[0] in names)


def beginning(name: str, labels: Mapping[str, str]) -> str:
    r"""How the line of a sample begins, up to its number.

    >>> beginning("n", {"b": "2", "a": 'say "one"'})
    'n{a="say \\"one\\"",b="2"} '
    """
    if not labels:
        return f"{name} "
    told = ",".join(f'{label}="{_in_label(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{told}}} "


def number(value: float) -> str:
    """A value as Prometheus writes it.

    >>> number(63.0), number(1234567.0), number(float("inf"))
    ('63.0', '1.234567e+06', '+Inf')
    """
    if -1e6 < value < 1e6:
        return repr(float(value))
    told: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return told


def _comments(metric: Metric, names: Collection[str] | None) -> Iterator[str]:
    if names is None:
        yield f"# HELP {metric.name} {_in_comment(metric.help)}\n# TYPE {metric.name} {metric.kind}\n"


def _lines(metric: Metric, labels: Labels, values: tuple[float, ...], names: Collection[str] | None) -> Iterator[str]:
    known = _known.get((metric.name, labels))
    if known is None:
        if len(_known) >= KNOWN_LIMIT:
            _known.clear()
        known = _known[metric.name, labels] = tuple(_samples(metric, labels))
    for (name, begins), value in zip(known, values, strict=True):
        if names is None or name in names:
            yield f"{begins}{number(value)}\n"


def _samples(metric: Metric, labels: Labels) -> Iterator[tuple[str, str]]:
    by_name = dict(zip(metric.labels, labels, strict=True))
    if metric.kind != "histogram":
        yield metric.name, beginning(metric.name, by_name)
        return
    for bound in (*map(str, metric.bounds), "+Inf"):
        name = f"{metric.name}_bucket"
        yield name, beginning(name, by_name | {"le": bound})
    for end in ("_count", "_sum"):
        yield metric.name + end, beginning(metric.name + end, by_name)


def _in_label(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _in_comment(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
