"""What may be written after `headrace train` of a model's family, its parameters and the search for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from headrace.options import Command

DEFAULT_FAMILY = "hist_gradient_boosting"
OBJECTIVES = ("average_precision", "auc", "card_precision_100")


class TuningOptions(NamedTuple):
    """What a person said of the model's parameters."""

    families: tuple[str, ...] = (DEFAULT_FAMILY,)
    changes: tuple[str, ...] = ()
    trials: int | None = None
    budget: str | None = None
    objective: str = OBJECTIVES[0]
    seed: int = 0
    json_file: Path | None = None


def of_tuning(command: Command) -> Command:
    """Options that say what is trained, and whether its parameters are searched for."""
    file = click.Path(dir_okay=False, path_type=Path)
    options: list[Callable[[Command], Command]] = [
        click.option(
            "--family", "families", multiple=True, help=f"several to choose among by --search [{DEFAULT_FAMILY}]"
        ),
        click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="a parameter of the family"),
        click.option("--search", "trials", type=click.IntRange(1), help="try so many parameter sets on earlier days"),
        click.option("--budget", help="search no longer than this, such as 10m"),
        click.option("--objective", type=click.Choice(OBJECTIVES), default=OBJECTIVES[0], help="of the search"),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the search"),
        click.option("--json", "json_file", type=file, help="write every trial of the search"),
    ]
    for option in reversed(options):
        command = option(command)
    return command
