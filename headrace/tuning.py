"""How `headrace train` comes to its family and parameters: as given, or by a search that shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.settings import milliseconds
from headrace.tuning_options import TuningOptions
from models.manifest import Parameter, SearchSummary
from training.frame import TrainingFrame
from training.search import Budget, Search, Trial, search

SHOWN_TRIALS = 10


class Tuned(NamedTuple):
    """What to train, and the search that found it, if there was one."""

    family: str
    changes: dict[str, Parameter]
    summary: SearchSummary | None = None
    trials: list[Trial] | None = None


def tuned(frame: TrainingFrame, options: TuningOptions) -> Tuned:
    """The family and parameters to train with; where a search is asked for, a bar shows how far it is.

    Raises `click.UsageError` where options contradict each other.
    """
    changes = dict(parsed(text) for text in options.changes)
    if options.trials is None and options.budget is None:
        if len(options.families) != 1:
            raise click.UsageError("one family is trained; give --search N or --budget TIME to choose among several")
        if options.json_file is not None:
            raise click.UsageError("--json writes the trials of a search; give --search N or --budget TIME")
        return Tuned(options.families[0], changes)
    if changes and len(options.families) != 1:
        raise click.UsageError("--set is a parameter of one family; give one --family")
    time_s = None if options.budget is None else milliseconds(options.budget) / 1000
    budget = Budget(options.trials, time_s)
    with _bar(budget) as on_trial:
        found = search(
            frame,
            options.families,
            budget,
            objective=options.objective,
            changes=changes,
            seed=options.seed,
            on_trial=on_trial,
        )
    Console(stderr=True).print(_table(found))
    if options.json_file is not None:
        options.json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found.trials), indent=2))
    return Tuned(found.best.family, found.best.changes, found.summary, found.trials)


def parsed(text: str) -> tuple[str, Parameter]:
    """A parameter as people write it: numbers, `true`, `false` and `null` are what they look like, all else is text.

    >>> parsed("C=0.5"), parsed("class_weight=balanced"), parsed("max_depth=null")
    (('C', 0.5), ('class_weight', 'balanced'), ('max_depth', None))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"--set {text} is no NAME=VALUE")
    try:
        return name, msgspec.json.decode(value, type=Parameter)
    except msgspec.MsgspecError:
        return name, value


@contextmanager
def _bar(budget: Budget) -> Iterator[Callable[[Trial, Trial], None]]:
    """What to call after each trial. The bar counts trials, or seconds where only the time is bounded."""
    words = "{task.description}: {task.completed:.0f} of {task.total:.0f} {task.fields[unit]}, {task.fields[best]}"
    columns = (BarColumn(), TextColumn(words), TimeElapsedColumn())
    counts = budget.trials is not None
    with Progress(*columns, console=Console(stderr=True)) as progress:
        total, unit = (budget.trials, "trials") if counts else (budget.time_s, "s")
        task = progress.add_task("search, Ctrl-C takes the best so far", total=total, unit=unit, best="no trial yet")

        def on_trial(trial: Trial, best: Trial) -> None:
            said = f"best {best.value:.4f} ({best.family})"
            progress.update(task, advance=1.0 if counts else trial.took_s, best=said)

        yield on_trial


def _table(found: Search) -> Table:
    summary = found.summary
    table = Table(
        title=f"{summary.trials} trials, ended by {summary.ended}; {summary.objective} on {summary.folds} folds"
    )
    for heading in ("trial", "family", summary.objective, "took", "parameters"):
        table.add_column(heading, overflow="fold")
    for trial in sorted(found.trials, key=lambda trial: trial.value, reverse=True)[:SHOWN_TRIALS]:
        shown = ", ".join(f"{name}={value}" for name, value in trial.changes.items()) or "defaults"
        mark = " (chosen)" if trial is found.best else ""
        table.add_row(f"{trial.number}{mark}", trial.family, f"{trial.value:.4f}", f"{trial.took_s:.1f} s", shown)
    return table
