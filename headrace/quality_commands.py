"""The commands `evaluate` and `drift`: what may be written after them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from headrace.every import every
from headrace.options import with_settings
from headrace.settings import Settings

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
folder = click.Path(file_okay=False, path_type=Path)
new = click.Path(dir_okay=False, path_type=Path)
unlabelled = click.option(
    "--unlabelled",
    type=click.Choice(["out", "legit"]),
    default="out",
    show_default=True,
    help="mature archived events without a verdict: left out, or legit where only frauds are reported",
)


@click.command()
@click.argument("name", default="fraud")
@click.option("--archive", type=folder, help="[<home>/archive]")
@click.option("--data", type=existing, help="a Parquet or CSV file instead, replayed: test, then learn")
@click.option("--mapping", type=existing, help="which column is what")
@click.option("--version", help="which model scores a file [the champion]")
@click.option("--from", "start", type=click.DateTime(), help="first day (UTC) [of a file: after the label cut-off]")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option(
    "--as-of", type=click.DateTime(), help="look back from then (UTC): what came later is not known [the end]"
)
@click.option("--history-days", type=int, default=38, show_default=True, help="of a file, before the first day")
@click.option("--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, help="of a file's cards")
@unlabelled
@click.option("--cards-a-day", type=click.IntRange(1), default=100, show_default=True, help="that analysts can check")
@click.option("--draws", type=click.IntRange(20, 10_000), default=200, show_default=True, help="of the intervals")
@click.option("--html", "html_file", type=new, help="write the report as a page")
@click.option("--json", "json_file", type=new, help="write the figures too")
@click.option("--publish/--no-publish", default=True, help="show them in /metrics, where a Redis is given [yes]")
@every
@with_settings("home", "redis", "policy", "label_delay", "card_numbers")
def evaluate(settings: Settings, name: str, every_s: float | None, **options: Any) -> None:
    """How good scores were, once labels had matured: as they were given, exact, with intervals, in money."""
    from headrace.cli import stop_on_signals
    from headrace.evaluate import EvaluateOptions, evaluate_on_schedule, run_evaluation

    if every_s is None:
        run_evaluation(settings, name, EvaluateOptions(**options))
    else:
        evaluate_on_schedule(settings, name, EvaluateOptions(**options), every_s, stop_on_signals())


@click.command()
@click.argument("name", default="fraud")
@click.option("--archive", type=folder, help="[<home>/archive]")
@click.option("--version", help="which model's training is the reference [the champion]")
@click.option("--weeks", type=click.IntRange(1, 52), default=1, show_default=True, help="the newest: whole ones only")
@click.option("--as-of", type=click.DateTime(), help="look back from then (UTC) [the end]")
@unlabelled
@click.option("--json", "json_file", type=new, help="write the figures too")
@click.option("--metrics", "metrics_file", type=new, help="write Prometheus metrics too: a .prom file")
@click.option("--publish/--no-publish", default=True, help="show them in /metrics, where a Redis is given [yes]")
@every
@with_settings("home", "redis", "label_delay")
def drift(settings: Settings, name: str, every_s: float | None, **options: Any) -> None:
    """Whether features, scores, labels or the loss have left what the model was trained on; status 1 on an alarm."""
    from headrace.cli import stop_on_signals
    from headrace.drift import DriftOptions, look_on_schedule, run_drift

    if every_s is None:
        sys.exit(run_drift(settings, name, DriftOptions(**options)))
    look_on_schedule(settings, name, DriftOptions(**options), every_s, stop_on_signals())
