"""The shape of every bench: named figures with a unit and a budget, medians of repeats, a table and a file."""

from __future__ import annotations

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
    """One measured figure. `better` says which way; `budget` is None where the design states none."""

    value: float
    unit: str
    budget: float | None
    better: Literal["lower", "higher"]
    note: str = ""

    @property
    def meets_budget(self) -> bool | None:
        """Whether it is within its budget; None where there is none."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.better == "lower" else self.value >= self.budget


Figures = dict[str, Figure]


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure over the runs, with their range in the note."""
    merged: Figures = {}
    for name, first in runs[0].items():
        values = [run[name].value for run in runs]
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
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "value", "unit", "budget", "", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "budget") else "left", overflow="fold")
    for name, figure in figures.items():
        within = figure.meets_budget
        mark = "" if within is None else "within" if within else "MISSED"
        budget = "" if figure.budget is None else f"{figure.budget:g}"
        table.add_row(name, f"{figure.value:,.4g}", figure.unit, budget, mark, figure.note)
    Console(width=140).print(table)


def write(path: Path, name: str, figures: Figures) -> None:
    """Write the figures with the machine and the versions, as JSON."""
    content = {"bench": name, "machine": machine(), "figures": figures}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
