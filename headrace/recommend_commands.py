"""The `recommend` commands: what may be written after them. `headrace.recommend` and its neighbours do the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from headrace.every import every
from headrace.model_commands import by, why
from headrace.options import OF_PROCESSES, Command, with_settings
from headrace.quality_commands import folder
from headrace.settings import Settings

file = click.Path(exists=True, dir_okay=False, path_type=Path)


def of_files(command: Command) -> Command:
    """Options that say where interactions are and which column is what."""
    for option in (
        click.option("--data", type=file, help="a CSV or Parquet file of interactions"),
        click.option("--catalogue", type=file, help="a CSV or Parquet file of items"),
        click.option("--user", default="", metavar="COLUMN", help="who [guessed]"),
        click.option("--session", default="", metavar="COLUMN", help="in which visit or order [guessed]"),
        click.option("--item", default="", metavar="COLUMN", help="with what [guessed]"),
        click.option("--time", default="", metavar="COLUMN", help="when [guessed]"),
        click.option("--action", default="", metavar="COLUMN", help="did what [guessed]"),
        click.option(
            "--kind",
            default="",
            metavar="ACTION",
            help="what they did where no column says it, such as purchase [rating or view]",
        ),
        click.option("--value", default="", metavar="COLUMN", help="a rating or an amount [guessed]"),
        click.option(
            "--skip", is_flag=True, help="leave rows out that have no visitor, item or time, and say how many"
        ),
    )[::-1]:
        command = option(command)
    return command


@click.group()
def recommend() -> None:
    """Recommendations: their state, their models, and files to begin with."""


@recommend.command("learn")
@with_settings("home", "redis", "kafka", "partitions", "sequence_limit", *OF_PROCESSES)
def recommend_learn(settings: Settings) -> None:
    """Bring actions, items and slates into one sequence, and learn from it."""
    from headrace.cli import stop_on_signals
    from headrace.recommend import run_recommender

    run_recommender(settings, stop_on_signals())


@recommend.command("load")
@of_files
@click.option("--to", "target", type=click.Choice(["log", "sequence"]), default="log", show_default=True)
@with_settings("home", "redis", "kafka", "partitions", "log_retention", "outbox_limit")
def recommend_load(settings: Settings, **options: Any) -> None:
    """Play a file of interactions, and one of items, into the log (for all that reads it) or the sequence alone."""
    from headrace.recommend_load import load_files

    load_files(settings, **options)


@recommend.command("digest")
@of_files
@with_settings("home", "redis")
def recommend_digest(settings: Settings, **options: Any) -> None:
    """Apply the sequence, or files, to an empty state, and print what it is: equal digests, equal answers."""
    from headrace.recommend import print_digest

    print_digest(settings, **options)


@recommend.command("show")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@with_settings("home", "redis")
def recommend_show(settings: Settings, as_json: bool) -> None:
    """What the learner last said: how far it is, what it foresees, and what was clicked."""
    from headrace.recommend import print_report

    print_report(settings, as_json)


@recommend.command("train")
@of_files
@click.option("--archive", type=folder, help="[<home>/archive]")
@click.option("--only", type=click.Choice(["batch", "ranker"]), help="one of the two [both]")
@click.option("--promote", is_flag=True, help="make the ranker the champion, if the gates let it pass")
@every
@by
@why
@with_settings("home", "redis")
def recommend_train(settings: Settings, every_s: float | None, **options: Any) -> None:
    """Fit the batch part, which learner and scorers adopt, and the ranker, which is registered."""
    from headrace.cli import stop_on_signals
    from headrace.recommend_train import train_on_schedule, train_recommender

    if every_s is None:
        sys.exit(train_recommender(settings, **options))
    if options["data"] is not None:
        raise click.UsageError("a file stays what it is: --every reads the archive")
    train_on_schedule(settings, options["archive"], options["only"], every_s, stop_on_signals())


@recommend.command("promote")
@click.argument("version", required=False)
@of_files
@click.option("--archive", type=folder, help="[<home>/archive]")
@click.option("--force", is_flag=True, help="past failed gates; needs --why, and the history names them")
@click.option("--dry-run", is_flag=True, help="only judge; status 1 where a gate fails")
@by
@why
@with_settings("home")
def recommend_promote(settings: Settings, **options: Any) -> None:
    """Make a ranker the champion (the challenger, or else the newest), if every gate lets it pass by later slates."""
    from headrace.recommend_promotion import promote_ranker

    sys.exit(promote_ranker(settings, **options))


@recommend.command("rollback")
@by
@why
@with_settings("home")
def recommend_rollback(settings: Settings, **options: Any) -> None:
    """Make the ranker before the present one champion again."""
    from headrace.recommend_promotion import roll_back_ranker

    roll_back_ranker(settings, **options)
