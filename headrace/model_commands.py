"""The `models` commands: what may be written after them. `headrace.models` and `headrace.promotion` do the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headrace.options import OF_PROCESSES, Command, with_settings
from headrace.settings import Settings

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
by = click.option("--by", default=lambda: os.environ.get("USER", ""), help="who does it [$USER]")
why = click.option("--why", default="", help="for whoever reads the history")
as_json = click.option("--json", "as_json", is_flag=True, help="as JSON")


def of_rows(command: Command) -> Command:
    """Options that say which later rows judge."""
    day = click.DateTime()
    options: list[Callable[[Command], Command]] = [
        click.option(
            "--archive", type=click.Path(exists=True, file_okay=False, path_type=Path), help="[<home>/archive]"
        ),
        click.option("--data", type=existing, help="a Parquet or CSV file instead, replayed"),
        click.option("--mapping", type=existing, help="which column is what"),
        click.option("--from", "start", type=day, help="first day that judges (UTC) [after both label cut-offs]"),
        click.option("--to", "end", type=day, help="the day after the last (UTC)"),
        click.option("--history-days", type=int, default=38, show_default=True, help="of a file, before the first"),
        click.option("--share", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, help="of a file's cards"),
        click.option(
            "--unlabelled",
            type=click.Choice(["out", "legit"]),
            default="out",
            show_default=True,
            help="archived events without a verdict: left out, or legit where only frauds are reported",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def models() -> None:
    """The registry: versions, gates before promotion, rollback, other machines."""


@models.command("list")
@as_json
@with_settings("home")
def models_list(settings: Settings, **options: Any) -> None:
    """Every version of every model, with its aliases and figures."""
    from headrace.models import print_models

    print_models(settings, **options)


@models.command("show")
@click.argument("name")
@click.argument("version", required=False)
@as_json
@with_settings("home")
def models_show(settings: Settings, **options: Any) -> None:
    """One version (or alias) in plain words, and who moved which alias when and why."""
    from headrace.models import print_model

    print_model(settings, **options)


@models.command("diff")
@click.argument("name")
@click.argument("one")
@click.argument("other")
@as_json
@with_settings("home")
def models_diff(settings: Settings, **options: Any) -> None:
    """What differs between two versions: data, definition, parameters, metrics by part, calibration."""
    from headrace.models import print_differences

    print_differences(settings, **options)


@models.command("register")
@click.argument("file", type=existing)
@click.option("--manifest", "manifest_file", type=existing, required=True, help="JSON; what it lacks is named")
@with_settings("home")
def models_register(settings: Settings, **options: Any) -> None:
    """Register an ONNX file that was made elsewhere."""
    from headrace.models import register_file

    register_file(settings, **options)


@models.command("alias")
@click.argument("name")
@click.argument("alias", type=click.Choice(["champion", "challenger", "shadow", "previous"]))
@click.argument("version", required=False)
@click.option("--none", is_flag=True, help="let it mean nothing any more")
@by
@why
@with_settings("home")
def models_alias(settings: Settings, **options: Any) -> None:
    """What an alias means; with a version, let challenger or shadow mean it."""
    from headrace.models import move_alias

    move_alias(settings, **options)


@models.command("promote")
@click.argument("name")
@click.argument("version", required=False)
@of_rows
@click.option("--dry-run", is_flag=True, help="only judge; status 1 where a gate fails")
@click.option("--force", is_flag=True, help="past failed gates; needs --why, and the history names them")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write what the gates said")
@by
@why
@with_settings("home", "policy", "label_delay", "card_numbers")
def models_promote(settings: Settings, **options: Any) -> None:
    """Make a version the champion (the challenger, or else the newest), if every gate lets it pass."""
    from headrace.frames import FrameOptions
    from headrace.promotion import promote_version

    if not options["by"] and not options["dry_run"]:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    if options["force"] and not options["why"].strip():
        raise click.UsageError("--force needs --why: whoever reads the history must know")
    rows = FrameOptions(**{name: options.pop(name) for name in FrameOptions._fields})
    sys.exit(promote_version(settings, options=rows, **options))


@models.command("rollback")
@click.argument("name")
@click.option("--force", is_flag=True, help="also to a model of other features, which no scorer of this code takes")
@by
@why
@with_settings("home")
def models_rollback(settings: Settings, **options: Any) -> None:
    """Make the champion before the present one champion again. Scorers swap within a second."""
    from headrace.promotion import roll_back

    if not options["by"]:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    roll_back(settings, **options)


@models.command("canary")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--share", type=int, required=True, help="percent of the entities: 1, 5 or 25; 0 ends the canary")
@by
@why
@with_settings("home", "policy")
def models_canary(settings: Settings, **options: Any) -> None:
    """Let a version (the challenger, or else the newest) answer a share of the entities in the champion's place."""
    from headrace.canary import run_canary

    run_canary(settings, **options)


@models.command("drop")
@click.argument("name")
@by
@why
@with_settings("home")
def models_drop(settings: Settings, **options: Any) -> None:
    """End what is beside the champion: canary, challenger and shadow."""
    from headrace.canary import drop_models

    drop_models(settings, **options)


@models.command("watch")
@click.argument("name")
@with_settings(
    *("home", "redis", "kafka", "partitions", "policy", "label_delay", "rollback", "promotion_watch"), *OF_PROCESSES
)
def models_watch(settings: Settings, name: str) -> None:
    """Score all traffic with shadow and challenger too, watch canary and new champion, roll back what goes wrong."""
    from headrace.cli import stop_on_signals
    from headrace.watch import run_watcher

    run_watcher(settings, name, stop_on_signals())


@models.command("compare")
@click.argument("name")
@as_json
@with_settings("home", "policy", "label_delay", "rollback", "promotion_watch")
def models_compare(settings: Settings, **options: Any) -> None:
    """What the watcher has found: shadow and challenger against the champion, and what is under watch."""
    from headrace.watch import print_comparison

    print_comparison(settings, **options)


@models.command("export")
@click.argument("name")
@click.argument("version")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_settings("home")
def models_export(settings: Settings, **options: Any) -> None:
    """Write one version to a zip file, with its manifest and hashes."""
    from headrace.models import export_model

    export_model(settings, **options)


@models.command("import")
@click.argument("file", type=existing)
@click.option("--sha256", help="of the whole file, as export printed it: refuse any other")
@with_settings("home")
def models_import(settings: Settings, **options: Any) -> None:
    """Register what a zip file of another machine holds, under the same version."""
    from headrace.models import import_model

    import_model(settings, **options)


@models.command("import-mlflow")
@click.argument("name")
@click.option("--uri", required=True, help="http(s)://HOST, or sqlite:///FILE")
@click.option("--model", help="its name in MLflow [NAME]")
@click.option("--alias", default="champion", show_default=True, help="in MLflow")
@with_settings("home")
def models_import_mlflow(settings: Settings, **options: Any) -> None:
    """Register the version that an alias means in MLflow: its ONNX file and its manifest, nothing is unpickled."""
    from headrace.models import import_mlflow

    import_mlflow(settings, **options)
