"""The `review` commands: what may be written after them. `headrace.review` and its neighbours do the work."""

from __future__ import annotations

import sys
from typing import Any

import click

from headrace.options import OF_PROCESSES, with_settings
from headrace.settings import Settings
from headrace.widget_commands import widget_key, widget_url


@click.group()
def review() -> None:
    """Cases to look at, and verdicts on them."""


@review.command("keep")
@with_settings("home", "redis", "kafka", "partitions", *OF_PROCESSES)
def review_keep(settings: Settings) -> None:
    """Turn decisions into cases, and verdicts into labels, as they come."""
    from headrace.cli import stop_on_signals
    from headrace.review import run_keeper

    run_keeper(settings, stop_on_signals())


@review.command("serve")
@with_settings(
    *("home", "host", "redis", "label_delay", "review_port", "review_url", "review_service", "review_policy", "alerts"),
    *("log_format", "log_level"),
)
def review_serve(settings: Settings) -> None:
    """Serve the analysts' pages."""
    from headrace.review_pages import run_pages

    run_pages(settings)


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


@review.command("alerts")
@click.option("--prometheus", is_flag=True, help="the same conditions as a file of rules for Prometheus")
@click.option("--test", is_flag=True, help="send a message to every target, now")
@with_settings("home", "alerts", "review_url", "review_port")
def review_alerts(settings: Settings, prometheus: bool, test: bool) -> None:
    """The conditions of alerts and how they stand."""
    from headrace.alerts import print_alerts, print_rules, send_test

    if prometheus:
        print_rules(settings)
    elif test:
        sys.exit(send_test(settings))
    else:
        print_alerts(settings)


review.add_command(widget_key)
review.add_command(widget_url)
