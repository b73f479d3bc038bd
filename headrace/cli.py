"""The command line: one command for each thing a person does."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from headrace.audit_commands import audit, forget
from headrace.every import every
from headrace.key_commands import keys
from headrace.learner_commands import learner
from headrace.model_commands import by, models, why
from headrace.options import OF_PROCESSES, with_settings
from headrace.quality_commands import drift, evaluate, folder, unlabelled
from headrace.recommend_commands import recommend
from headrace.review_commands import review
from headrace.rule_commands import rules
from headrace.settings import SETTINGS, Settings
from headrace.tuning_options import TuningOptions, of_tuning
from headrace.user_commands import users


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
@click.option("--shoppers", type=folder, help="a folder of MovieLens 100K, instead of made-up shoppers")
@click.option("--no-shoppers", is_flag=True, help="payments alone")
@click.option("--slates", type=click.FloatRange(0.1), default=20.0, show_default=True, help="slates a second")
@with_settings(*("home", "redis", "kafka", "host", "port", "workers", "partitions", "review_pages"), own_redis=True)
def demo(settings: Settings, **options: Any) -> None:
    """Start everything, play transactions and shoppers through the HTTP API, and sum up."""
    from headrace.demo import DemoOptions, run_demo

    sys.exit(run_demo(settings, DemoOptions(**options)))


@main.command()
@with_settings(*(setting.name for setting in SETTINGS), own_redis=True)
def up(settings: Settings) -> None:
    """Run the whole stack until Ctrl-C."""
    from headrace.demo import run_up

    run_up(settings)


@main.command()
@with_settings("home", "redis", "kafka", "partitions", "log_retention", *OF_PROCESSES)
def worker(settings: Settings) -> None:
    """Fold what the log carries into the online store."""
    from headrace.run import run_worker

    run_worker(settings, stop_on_signals())


@main.command()
@click.option("--topic", required=True, help="where the transactions arrive, such as unscored")
@with_settings(
    *("home", "redis", "kafka", "partitions", "clock_skew", "policy", "let_through_key"),
    *("answer_retention", "outbox_limit", "pending_limit"),
    *OF_PROCESSES,
)
def score(settings: Settings, topic: str) -> None:
    """Score the transactions that arrive on a topic; their decisions go to `decisions`."""
    from headrace.run import run_scorer

    run_scorer(settings, topic, stop_on_signals())


@main.command()
@with_settings("redis", "kafka", "partitions", "log_retention", *OF_PROCESSES)
def relay(settings: Settings) -> None:
    """Move the outbox from Redis to Kafka."""
    from headrace.run import run_relay

    run_relay(settings, stop_on_signals())


@main.command()
@with_settings("home", "redis", "kafka", "partitions", *OF_PROCESSES)
def learn(settings: Settings) -> None:
    """Learn from labels as they arrive."""
    from headrace.run import run_learner

    run_learner(settings, stop_on_signals())


@main.command()
@with_settings("home", "redis", "kafka", "partitions", "archive_retention", *OF_PROCESSES)
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
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="a Parquet or CSV file")
@click.option("--archive", type=folder, help="served vectors instead [<home>/archive]")
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="which column is what")
@click.option("--from", "start", type=click.DateTime(), help="first day that teaches (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option("--history-days", type=int, default=38, show_default=True, help="days before that fill the histories")
@click.option("--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, show_default=True)
@unlabelled
@of_tuning
@click.option("--mlflow", metavar="URI", help="log the run there: http(s)://HOST, or sqlite:///FILE")
@click.option("--experiment", default="", help="in MLflow [the use case]")
@click.option("--promote", is_flag=True, help="make it the champion, if the gates let it pass on the last days")
@click.option("--judge-days", type=click.IntRange(1), default=14, show_default=True, help="with --promote: how many")
@by
@why
@with_settings("home", "policy", "label_delay", "card_numbers")
def train(settings: Settings, **options: Any) -> None:
    """Train a model on served vectors, or on a file replayed through the feature engine, and register it."""
    from headrace.training import run_training

    given = {name: options.pop(name) for name in TuningOptions._fields}
    tuning = TuningOptions(**{name: value for name, value in given.items() if value})
    sys.exit(run_training(settings, tuning=tuning, **options))


@main.command()
@click.argument("name", default="fraud")
@click.option("--archive", type=folder, help="[<home>/archive]")
@click.option("--once", is_flag=True, help="one round, and no more [unless --every]")
@every
@unlabelled
@with_settings("home", "redis", "label_delay", "feedback_window")
def feedback(settings: Settings, once: bool, every_s: float | None, **options: Any) -> None:
    """Train the feedback model on recent verdicts of analysts, and let it serve if the gates let it pass."""
    from headrace.feedback import feedback_on_schedule, feedback_once

    if once and every_s is not None:
        raise click.UsageError("give either --once or --every")
    if every_s is None:
        feedback_once(settings, **options)
    else:
        feedback_on_schedule(settings, **options, every_s=every_s, stop=stop_on_signals())


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
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="a Parquet or CSV file")
@click.option("--archive", type=click.Path(exists=True, file_okay=False, path_type=Path), help="an archive instead")
@click.option("--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="which column is what")
@click.option("--from", "start", type=click.DateTime(), help="first day that fills the histories (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option("--every", type=click.Choice(["end", "day", "event"]), default="end", help="one row each [end]")
@with_settings("home")
def features_states(settings: Settings, data: Path | None, archive: Path | None, **options: Any) -> None:
    """Compute states from a file or an archive, for `feast materialize` (end) and training frames (day or event)."""
    if (data is None) == (archive is None):
        raise click.UsageError("give either --data FILE or --archive DIRECTORY")
    if data is not None:
        from headrace.run import write_feature_states

        write_feature_states(settings, data, **options)
    elif archive is not None:
        from headrace.feature_archive import write_states_of_archive

        if options.pop("mapping") is not None:
            raise click.UsageError("an archive needs no --mapping")
        write_states_of_archive(settings, archive, **options)


@features.command("history")
@click.option("--archive", "directory", type=click.Path(file_okay=False, path_type=Path), help="[<home>/archive]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="the Parquet file to write")
@click.option("--from", "start", type=click.DateTime(), help="first day of the rows (UTC)")
@click.option("--to", "end", type=click.DateTime(), help="the day after the last (UTC)")
@click.option(
    "--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, show_default=True, help="of the cards"
)
@with_settings("home")
def features_history(settings: Settings, directory: Path | None, **options: Any) -> None:
    """Write the training frame of archived events: the features with which each was scored, and its label."""
    from headrace.feature_archive import write_frame

    write_frame(settings, directory or settings.home / "archive", **options)


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
@click.option("--days", type=click.IntRange(1), help="only the newest so many days of decisions")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write the figures too")
@click.option(
    "--metrics",
    "metrics_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="write Prometheus metrics too: a .prom file in node-exporter's textfile folder",
)
@click.option("--publish/--no-publish", default=True, help="show the report in /metrics, where a Redis is given [yes]")
@every
@with_settings("home", "redis")
def features_skew(settings: Settings, every_s: float | None, **options: Any) -> None:
    """Compare served features with the same recomputed from the archive; status 1 where there are defects."""
    from headrace.skew import SkewOptions, check_on_schedule, check_once

    if every_s is None:
        sys.exit(check_once(settings, SkewOptions(**options)))
    check_on_schedule(settings, SkewOptions(**options), every_s, stop_on_signals())


main.add_command(rules)
main.add_command(keys)
main.add_command(audit)
main.add_command(forget)
main.add_command(models)
main.add_command(evaluate)
main.add_command(drift)
main.add_command(learner)
main.add_command(recommend)
main.add_command(review)
main.add_command(users)


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


@main.command()
@click.option("--url", help="address of the service, such as http://127.0.0.1:3000")
@with_settings(*(setting.name for setting in SETTINGS))
def doctor(settings: Settings, url: str | None) -> None:
    """Examine a deployment and say in plain words what is wrong; status 1 where anything fails."""
    from headrace.doctor import run_doctor

    sys.exit(run_doctor(settings, url))


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
