"""The `learner` commands: what may be written after them. `headrace.learner` does the work."""

from __future__ import annotations

import os
from typing import Any

import click

from headrace.options import with_settings
from headrace.settings import Settings

by = click.option("--by", default=lambda: os.environ.get("USER", ""), help="who does it [$USER]")
why = click.option("--why", required=True, help="for whoever reads the history")
as_json = click.option("--json", "as_json", is_flag=True, help="as JSON")


@click.group()
def learner() -> None:
    """The online learner: what it knows, whether it stands still, and back to what it knew."""


@learner.command("show")
@as_json
@with_settings("home")
def learner_show(settings: Settings, **options: Any) -> None:
    """Version, labels, learner beside twin, why it stands still, and what people did."""
    from headrace.learner import print_learner

    print_learner(settings, **options)


@learner.command("snapshots")
@as_json
@with_settings("home")
def learner_snapshots(settings: Settings, **options: Any) -> None:
    """The weights that are kept: version, when, labels learned, how good they were."""
    from headrace.learner import print_snapshots

    print_snapshots(settings, **options)


@learner.command("freeze")
@by
@why
@with_settings("home")
def learner_freeze(settings: Settings, **options: Any) -> None:
    """Let it stand still until somebody thaws it; scorers keep the weights that they have."""
    from headrace.learner import freeze_learner

    freeze_learner(settings, **options)


@learner.command("thaw")
@by
@why
@with_settings("home")
def learner_thaw(settings: Settings, **options: Any) -> None:
    """Let it learn again, whatever it stands still for. What came meanwhile is not learned."""
    from headrace.learner import thaw_learner

    thaw_learner(settings, **options)


@learner.command("restore")
@click.argument("version")
@by
@why
@with_settings("home")
def learner_restore(settings: Settings, **options: Any) -> None:
    """Go back to a snapshot's weights: scorers have them within a second or two. A freeze stays."""
    from headrace.learner import restore_learner

    restore_learner(settings, **options)
