"""The command line: one command for each thing a person does."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headrace.settings import BY_NAME, SETTINGS, InvalidSetting, Settings

Command = Callable[..., Any]


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Options for the named settings; the command receives `settings`."""

    def decorate(command: Command) -> Command:
        def wrapped(**options: Any) -> Any:
            given = {name: options.pop(name) for name in names}
            try:
                return command(settings=Settings(given), **options)
            except (InvalidSetting, ValueError, LookupError, OSError) as error:
                raise click.ClickException(str(error)) from error

        wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
        wrapped.__dict__ |= command.__dict__
        for name in reversed(names):
            setting = BY_NAME[name]
            wrapped = click.option(
                f"--{name.replace('_', '-')}",
                name,
                help=f"{setting.help} [{setting.variable}; {setting.default or 'empty'}]",
            )(wrapped)
        return wrapped

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace")
def main() -> None:
    """Real-time fraud and recommendation scoring."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)


@main.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="how long to play")
@click.option("--rate", type=float, default=200.0, show_default=True, help="scoring requests a second")
@click.option("--events", type=int, help="how many transactions to score; then it ends before the seconds are over")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="a Parquet or CSV file")
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="which column is what")
@click.option("--share", type=click.FloatRange(0.0, 1.0, min_open=True), help="share of the cards that is scored")
@click.option("--seed", type=int, default=7, show_default=True, help="of the simulator")
@click.option("--summary", type=click.Path(dir_okay=False, path_type=Path), help="write the summary as JSON too")
@with_settings("home", "redis", "kafka", "host", "port", "workers", "partitions")
def demo(settings: Settings, **options: Any) -> None:
    """Start everything, play transactions through the HTTP API, and sum up."""
    from headrace.demo import DemoOptions, run_demo

    sys.exit(run_demo(settings, DemoOptions(**options)))


@main.command()
@with_settings(*(setting.name for setting in SETTINGS))
def up(settings: Settings) -> None:
    """Run the whole stack until Ctrl-C."""
    from headrace.demo import run_up

    run_up(settings)


@main.command()
@with_settings("home", "redis", "kafka", "partitions", "log_retention")
def worker(settings: Settings) -> None:
    """Fold what the log carries into the online store."""
    from headrace.run import run_worker

    run_worker(settings, stop_on_signals())


@main.command()
@with_settings("redis", "kafka", "partitions", "log_retention")
def relay(settings: Settings) -> None:
    """Move the outbox from Redis to Kafka."""
    from headrace.run import run_relay

    run_relay(settings, stop_on_signals())


@main.command()
@with_settings("home", "redis", "kafka", "partitions")
def learn(settings: Settings) -> None:
    """Learn from labels as they arrive."""
    from headrace.run import run_learner

    run_learner(settings, stop_on_signals())


@main.command()
@with_settings("home", "redis", "kafka", "partitions", "archive_retention")
def archive(settings: Settings) -> None:
    """Store what the log carries as Parquet files by day."""
    from headrace.cold import run_archiver

    run_archiver(settings, stop_on_signals())


@main.command()
@click.option("--from", "source", type=click.Choice(["log", "archive"]), required=True, help="what to fold again")
@click.option("--force", is_flag=True, help="also where the live history reaches further back than what is replayed")
@with_settings("home", "redis", "kafka", "partitions")
def replay(settings: Settings, source: str, force: bool) -> None:
    """Rebuild every history beside the live ones, then put each in its place. Stop the workers first."""
    from headrace.cold import run_replay

    sys.exit(run_replay(settings, source, force, stop_on_signals()))


@main.command()
@with_settings(*(setting.name for setting in SETTINGS))
def serve(settings: Settings) -> None:
    """Serve the HTTP API with BentoML."""
    from headrace.run import run_service

    run_service(settings)


@main.command()
@click.argument("use_case")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="which column is what")
@click.option("--from", "start", type=click.DateTime(), help="first day that teaches (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option("--history-days", type=int, default=38, show_default=True, help="days before that fill the histories")
@click.option("--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, show_default=True)
@click.option("--family", default="hist_gradient_boosting", show_default=True)
@click.option("--promote/--no-promote", default=True, show_default=True, help="make it the champion")
@with_settings("home")
def train(settings: Settings, **options: Any) -> None:
    """Train a model on transactions replayed through the feature engine, and register it."""
    from headrace.run import run_training

    run_training(settings, **options)


@main.group()
def features() -> None:
    """Declarations, the store's plan, the catalogue."""


@features.command("apply")
@with_settings("home", "redis")
def features_apply(settings: Settings) -> None:
    """Apply the declarations to Feast and compile the plan of the fast path."""
    from feature_repo.repository import apply

    plan = apply(settings.home, settings.redis or "redis://127.0.0.1:6379")
    click.echo(f"applied definition {plan.definition_hash}: {len(plan.views)} views, plan in {settings.home}")


@features.command("list")
def features_list() -> None:
    """Every feature: name, unit, description."""
    from headrace.run import print_catalogue

    print_catalogue()


@features.command("show")
@click.argument("name")
def features_show(name: str) -> None:
    """One feature: what it is, where it comes from, its definition."""
    from headrace.run import print_feature

    print_feature(name)


@features.command("states")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="which column is what")
@click.option("--from", "start", type=click.DateTime(), help="first day that fills the histories (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option("--every", type=click.Choice(["end", "day", "event"]), default="end", help="one row each [end]")
@with_settings("home")
def features_states(settings: Settings, **options: Any) -> None:
    """Compute states from a file, for `feast materialize` (end) and for training frames (day or event)."""
    from headrace.run import write_feature_states

    write_feature_states(settings, **options)


@features.command("env")
@with_settings("home", "redis")
def features_env(settings: Settings) -> None:
    """Shell lines after which Feast's own commands work: eval "$(headrace features env)"."""
    from feature_repo.environment import exports

    click.echo(exports(settings.home, settings.redis or "redis://127.0.0.1:6379"), nl=False)


@features.command("skew")
@click.option(
    "--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=0.1, show_default=True, help="of the cards"
)
@click.option("--since", type=click.DateTime(), help="leave out decisions of before (UTC)")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write the figures too")
@with_settings("home")
def features_skew(settings: Settings, **options: Any) -> None:
    """Compare served features with the same recomputed from the archive; status 1 where there are defects."""
    from headrace.cold import check_skew

    sys.exit(check_skew(settings, **options))


@main.group()
def models() -> None:
    """The registry."""


@models.command("list")
@with_settings("home")
def models_list(settings: Settings) -> None:
    """Every version of every model, with its aliases and figures."""
    from headrace.run import print_models

    print_models(settings)


@main.group()
def review() -> None:
    """Cases to look at, and verdicts on them."""


@review.command("keep")
@with_settings("home", "redis", "kafka", "partitions")
def review_keep(settings: Settings) -> None:
    """Turn decisions into cases, and verdicts into labels, as they come."""
    from headrace.review import run_keeper

    run_keeper(settings, stop_on_signals())


@review.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="how many cases")
@with_settings("home")
def review_list(settings: Settings, limit: int) -> None:
    """The queue: open cases, the greatest expected loss first."""
    from headrace.review import print_queue

    print_queue(settings, limit)


@review.command("decide")
@click.argument("case_id")
@click.argument("verdict", type=click.Choice(["fraud", "legit", "unknown"]))
@click.option("--by", required=True, help="who says so")
@with_settings("home", "redis", "kafka", "partitions")
def review_decide(settings: Settings, **options: Any) -> None:
    """Say what a case was; each of its events gets that label."""
    from headrace.review import decide_case

    decide_case(settings, **options)


@main.command()
@click.option("--port", type=int, help="a free one by default")
@click.option("--directory", type=click.Path(path_type=Path), default=Path(".kafka"), show_default=True)
def kafka(directory: Path, port: int | None) -> None:
    """Get and run one Apache Kafka node for development, until Ctrl-C."""
    from stream.kafka_node import run_node

    run_node(directory, port)


@main.command()
@click.argument("name")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write the figures too")
def bench(name: str, json_file: Path | None) -> None:
    """Measure what the documentation claims."""
    from bench.run import run_bench

    sys.exit(run_bench(name, json_file))


@main.command("settings")
def list_settings() -> None:
    """Every setting with its default and its environment variable."""
    for setting in SETTINGS:
        click.echo(f"{setting.variable:<28}{setting.default or '(empty)':<14}{setting.help}")


def stop_on_signals() -> threading.Event:
    """An event that is set by SIGTERM or Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    main()
