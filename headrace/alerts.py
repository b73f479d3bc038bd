"""Alerts put together: the conditions, where messages go, and the two threads that watch and send."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import click

from headrace.review import has_cases, store_of_command
from headrace.settings import InvalidSetting, Settings
from review.alert_book import AlertBook, moment
from review.alert_condition import Alerts
from review.alert_courier import Courier
from review.alert_file import InvalidAlerts, load_alerts
from review.alert_message import Told, message
from review.alert_outbox import AlertOutbox
from review.alert_prometheus import rules
from review.alert_standing import Standing
from review.alert_target import NotDelivered, Target
from review.alert_watch import AlertWatch
from review.alert_words import condition_words
from review.engine import CasesUnavailable
from review.series import Series
from review.series_history import SeriesHistory
from review.web.parts import Parts
from review.web.site import Site
from review.webhook import Webhook

JOIN_S = 2.0
"""How long a stop waits for a message that is being sent; what has not arrived is sent again."""


def alerts_of(settings: Settings) -> Alerts:
    """The conditions of these settings. Raises `click.ClickException`."""
    try:
        return load_alerts(settings.alerts)
    except InvalidAlerts as error:
        raise click.ClickException(str(error)) from None


def targets_of(settings: Settings) -> list[Target]:
    """Where messages go. Raises `InvalidSetting` that quotes no address: they hold passwords."""
    targets: list[Target] = []
    if settings.alert_urls:
        # It takes a second and 40 MiB to load, which only those pay who use it.
        from review.alert_apprise import AppriseTarget

        for number, url in enumerate(settings.alert_urls.split(), start=1):
            try:
                targets.append(AppriseTarget(url))
            except ValueError as error:
                raise InvalidSetting(f"HEADRACE_ALERT_URLS, address {number}: {error}") from None
    for number, url in enumerate(settings.alert_webhooks.split(), start=1):
        try:
            targets.append(Webhook(url, settings.alert_key.split()))
        except ValueError as error:
            words = f"HEADRACE_ALERT_WEBHOOKS, address {number}, with HEADRACE_ALERT_KEY: {error}"
            raise InvalidSetting(words) from None
    return list({target.fingerprint: target for target in targets}.values())


@contextmanager
def watching(settings: Settings, parts: Parts, port: int) -> Iterator[AlertWatch]:
    """The watch of these parts, and its courier, at work until the block ends.

    With no numbers to look at nothing is watched: an alert that fires stays as it is, for the pages to show.
    """
    stop, host = Event(), f"localhost:{port}"
    series = parts.series or SeriesHistory(Series())
    book, targets = AlertBook(parts.cases.database), targets_of(settings)
    courier = Courier(AlertOutbox(parts.cases.database), targets, parts.clock)
    watch = AlertWatch(alerts_of(settings), series, book, targets, lambda path: parts.site.url(path, host))
    threads = [Thread(target=courier.run, args=(stop,), name="alert-courier", daemon=True)]
    if parts.series is not None:
        looks = Thread(target=watch.run, args=(stop, parts.clock, courier.wake), name="alert-watch", daemon=True)
        threads.append(looks)
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        stop.set()
        courier.wake()
        for thread in threads:
            thread.join(JOIN_S)


def print_rules(settings: Settings) -> None:
    """Rules for Prometheus."""
    click.echo(rules(alerts_of(settings)), nl=False)


def print_alerts(settings: Settings) -> None:
    """The conditions, and how each stood at the last look."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    alerts, standings = alerts_of(settings), _standings(settings)
    table = Table(title=f"{len(alerts.alerts)} alerts, looked at each {alerts.every_s:g} s by 'headrace review serve'")
    for heading in ("alert", "severity", "state", "since", "when"):
        table.add_column(heading, overflow="fold")
    for condition in alerts.alerts:
        one = standings.get(condition.name, Standing(name=condition.name))
        since = f"{moment(one.since_s):%Y-%m-%d %H:%M}" if one.since_s else ""
        row = (condition.name, condition.severity, one.state, since, condition_words(condition))
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def send_test(settings: Settings) -> int:
    """Send a message to every target and say whether it arrived; the exit code."""
    targets = targets_of(settings)
    if not targets:
        raise click.ClickException("alerts go nowhere; set HEADRACE_ALERT_URLS or HEADRACE_ALERT_WEBHOOKS")
    now = datetime.now(UTC)
    page = Site(settings.review_url).url("/alerts", f"localhost:{settings.review_port}")
    told = Told(
        name="test",
        title="A test of Headrace's alerts",
        turn="test",
        severity="ticket",
        value=None,
        words="somebody ran `headrace review alerts --test`",
        since=now - timedelta(microseconds=now.microsecond),
        link=page,
        alert=page,
        remedy="nothing: this is how a message looks",
    )
    failed = 0
    for target in targets:
        try:
            target.send(message(now, [told]))
            click.echo(f"{target.label}: delivered")
        except NotDelivered as error:
            failed += 1
            click.echo(f"{target.label}: not delivered: {error}", err=True)
    return 1 if failed else 0


def _standings(settings: Settings) -> dict[str, Standing]:
    if not has_cases(settings):
        return {}
    try:
        with closing(store_of_command(settings)) as store:
            return AlertBook(store.database).standings()
    except CasesUnavailable as error:
        raise click.ClickException(str(error)) from None
