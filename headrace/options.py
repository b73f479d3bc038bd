"""Options of commands that stand for settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import click

from headrace.cards import open_guard
from headrace.logs import configure_logs
from headrace.running import with_redis_of_home
from headrace.settings import BY_NAME, InvalidSetting, Settings
from stream.child import ChildError

Command = Callable[..., Any]
OF_PROCESSES = ("metrics_port", "host", "log_format", "log_level")
"""The settings of every process that runs until it is stopped and has no HTTP API."""


def without_card_numbers(settings: Settings, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a person typed, with a token for each card number: what a deployment has in its place.

    Raises `InvalidRecord` where they are refused, or where the deployment's key is not here.
    """
    guard = open_guard(settings, make_key=False)

    def cleaned(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(cleaned(name, one) for one in value)
        return guard.text(value, name) if isinstance(value, str) else value

    return {name: cleaned(name, value) for name, value in options.items()}


def with_settings(*names: str, own_redis: bool = False) -> Callable[[Command], Command]:
    """Options for the named settings; the command receives `settings`.

    A command that takes a Redis and is told of none gets the home's, unless it starts its own (`own_redis`).
    """

    taken = [name for name in names if BY_NAME[name].is_option]

    def decorate(command: Command) -> Command:
        def wrapped(**options: Any) -> Any:
            given = {name: options.pop(name) for name in taken}
            if urlsplit(given.get("redis") or "").password:
                text = "a password on a command line is seen by every user of the machine; set HEADRACE_REDIS, or"
                raise click.UsageError(f"{text} HEADRACE_REDIS_FILE to a file that holds the URL")
            try:
                settings = Settings(given)
                if "redis" in taken and not own_redis:
                    settings = with_redis_of_home(settings)
                configure_logs(settings.log_format, settings.log_level)
                return command(settings=settings, **without_card_numbers(settings, options))
            except (InvalidSetting, ValueError, LookupError, OSError, ChildError) as error:
                raise click.ClickException(str(error)) from error

        wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
        wrapped.__dict__ |= command.__dict__
        for name in reversed(taken):
            setting = BY_NAME[name]
            wrapped = click.option(
                f"--{name.replace('_', '-')}",
                name,
                help=f"{setting.help} [{setting.variable}; {setting.default or 'empty'}]",
            )(wrapped)
        return wrapped

    return decorate
