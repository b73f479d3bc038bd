"""What is counted with prometheus_client itself, such as answers by status: the few samples that somebody asks for.

BentoML tells all of them in its part of /metrics, by way of prometheus_client's own sums over the files of all
processes. That takes as long as some scores; here only what is asked for is taken out of these files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from operator import add
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict

from scoring.dead_processes import VARIABLE
from scoring.metric_text import beginning, number

PREFIX = "headrace_"
KNOWN_LIMIT = 20_000
JOINED: dict[str, Callable[[float, float], float]] = {"counter": add, "sum": add, "max": max, "min": min}
"""How the processes' values of a sample become one, by its kind or by a gauge's mode."""
_known: dict[str, tuple[str, str]] = {}
"""A sample's name and how its line begins, by its key in a file."""


def own_text(
    names: Collection[str],
    registry: CollectorRegistry = REGISTRY,
    environ: dict[str, str] | os._Environ[str] = os.environ,
) -> str:
    """The samples of these names, of all processes that share files, else of this one. Ours alone, without comments."""
    folder = environ.get(VARIABLE, "")
    values = _shared(folder, names) if folder else _of_this(registry, names)
    return "".join(f"{begins}{number(value)}\n" for begins, value in sorted(values.items()))


def _of_this(registry: CollectorRegistry, names: Collection[str]) -> dict[str, float]:
    families = (family for family in registry.collect() if family.name.startswith(PREFIX))
    return {
        beginning(sample.name, sample.labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name in names
    }


def _shared(folder: str, names: Collection[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for path in Path(folder).iterdir():
        joined = JOINED.get(_kind(path.name))
        if joined is None:
            continue
        try:
            kept = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            continue  # A process that ended took its live gauges with it.
        for key, value, _, _ in kept:
            name, begins = _sample(key)
            if name in names and name.startswith(PREFIX):
                values[begins] = joined(values[begins], value) if begins in values else value
    return values


def _kind(file: str) -> str:
    """What a file of prometheus_client has, by its name; nothing of ours where it has no place in `JOINED`.

    >>> _kind("counter_7.db"), _kind("gauge_livemax_7.db"), _kind("gauge_all_7.db"), _kind("histogram_7.db")
    ('counter', 'max', 'all', 'histogram')
    """
    if not file.endswith(".db"):
        return ""
    kind, _, rest = file.partition("_")
    return rest.partition("_")[0].removeprefix("live") if kind == "gauge" else kind


def _sample(key: str) -> tuple[str, str]:
    known = _known.get(key)
    if known is None:
        if len(_known) >= KNOWN_LIMIT:
            _known.clear()
        _, name, labels, _ = json.loads(key)
        known = _known[key] = name, beginning(name, labels)
    return known
