"""Options of commands that stand for settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.settings import BY_NAME, InvalidSetting, Settings

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
