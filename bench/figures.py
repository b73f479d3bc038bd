"""The shape of every bench: named figures with a unit and a budget, medians of repeats, a table and a file."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = ("bentoml", "feast", "river", "scikit-learn", "onnxruntime", "kafka-python", "redis", "numpy", "msgspec")


class Figure(msgspec.Struct, frozen=True):
    """One measured figure. `better` says which way; `budget` is None where the design states none.

    A figure that could not be measured has no value (NaN; null in JSON), and its note says why.
    """

    value: float
    unit: str
    budget: float | None
    better: Literal["lower", "higher"]
    note: str = ""

    @property
    def meets_budget(self) -> bool | None:
        """Whether it is within its budget; None where there is none, or no value."""
        if self.budget is None or math.isnan(self.value):
            return None
        return self.value <= self.budget if self.better == "lower" else self.value >= self.budget


Figures = dict[str, Figure]


def not_measured(unit: str, better: Literal["lower", "higher"], why: object, budget: float | None = None) -> Figure:
    """A figure without a value, that says why it has none."""
    return Figure(math.nan, unit, budget, better, f"not measured: {why}")


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure over the runs, with their range in the note; none where a run could not measure it."""
    merged: Figures = {}
    for name, first in runs[0].items():
        values = [run[name].value for run in runs]
        if any(map(math.isnan, values)):
            merged[name] = next(run[name] for run in runs if math.isnan(run[name].value))
            continue
        spread = f"median of {len(runs)} runs, {min(values):.4g} to {max(values):.4g}"
        note = f"{first.note}; {spread}" if first.note else spread
        merged[name] = msgspec.structs.replace(first, value=median(values), note=note)
    return merged


def machine() -> dict[str, str]:
    """Where the figures were measured."""
    memory_gib = psutil.virtual_memory().total / 2**30
    about = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": f"{psutil.cpu_count()} x {platform.machine()}",
        "memory": f"{memory_gib:.0f} GiB",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": f"{psutil.getloadavg()[0]:.1f} when it ended",
    }
    return about | {package: version(package) for package in PACKAGES}


def show(title: str, figures: Figures) -> None:
    """Print a table. A note that is the one before it is not said again."""
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "value", "unit", "budget", "", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "budget") else "left", overflow="fold")
    said = ""
    for name, figure in figures.items():
        within = figure.meets_budget
        mark = "" if within is None else "within" if within else "MISSED"
        budget = "" if figure.budget is None else f"{figure.budget:g}"
        value = "-" if math.isnan(figure.value) else f"{figure.value:,.4g}"
        note = "as above" if figure.note and figure.note == said else figure.note
        table.add_row(name, value, figure.unit, budget, mark, note)
        said = figure.note
    Console(width=140).print(table)


def write(path: Path, name: str, figures: Figures) -> None:
    """Write the figures with the machine and the versions, as JSON."""
    content = {"bench": name, "machine": machine(), "figures": figures}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
