"""What the other `headrace models` commands do: list, show, diff, register, alias, export, import."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from headrace.model_tables import differences, differences_table, facts_of, history_table, metrics_table, number
from headrace.promotion import chosen
from headrace.settings import Settings
from models.aliases import ALIASES, Alias, AliasMoved
from models.bundle import read_bundle, write_bundle
from models.ensemble import FEEDBACK
from models.foreign import read_foreign
from models.registry import Registry
from scoring.live_models import registry_of
from scoring.use_case import USE_CASES


def print_models(settings: Settings, as_json: bool = False) -> None:
    """The registry as a table."""
    registry = registry_of(settings.home)
    table = Table(title=f"models in {settings.home}")
    for heading in ("name", "version", "aliases", "family", "AUC", "average precision", "definition"):
        table.add_column(heading, no_wrap=heading in ("name", "version"))
    found = []
    for name in registry.names():
        for version in registry.versions(name):
            manifest = registry.manifest(name, version)
            held = _held(registry, name, version)
            found.append({"name": name, "version": version, "aliases": held, "manifest": manifest})
            figures = (number(manifest.metrics.get(key)) for key in ("auc", "average_precision"))
            table.add_row(name, version, ", ".join(held), manifest.family, *figures, manifest.definition_hash)
    if as_json:
        return _print_json(found)
    return Console().print(table)


def print_model(settings: Settings, name: str, version: str | None, as_json: bool) -> None:
    """One version (the champion, or else the newest) in plain words, and the history of the model's aliases."""
    registry = registry_of(settings.home)
    version = resolved(registry, name, version) if version else registry.aliases(name).get("champion")
    version = version or chosen(registry, name)
    manifest, history = registry.manifest(name, version), registry.history(name)
    if as_json:
        return _print_json({"manifest": manifest, "aliases": _held(registry, name, version), "history": history})
    for heading, text in facts_of(manifest, ", ".join(_held(registry, name, version))).items():
        click.echo(f"{heading:<20}{text}")
    console = Console()
    console.print(metrics_table(manifest))
    console.print(history_table(history))
    gates = [change.gates for change in history if change.version == version and change.gates]
    for gate, said in (gates[-1] if gates else {}).items():
        click.echo(f"gate {gate:<15}{said}")
    return None


def print_differences(settings: Settings, name: str, one: str, other: str, as_json: bool) -> None:
    """What differs between two versions."""
    registry = registry_of(settings.home)
    first, second = (registry.manifest(name, resolved(registry, name, version)) for version in (one, other))
    if as_json:
        return _print_json([line._asdict() for line in differences(first, second)])
    return Console().print(differences_table(first, second))


def register_file(settings: Settings, file: Path, manifest_file: Path) -> None:
    """Register an ONNX file that was made elsewhere, with the manifest that came with it."""
    register_foreign(settings, file.read_bytes(), manifest_file.read_bytes())


def register_foreign(settings: Settings, onnx_bytes: bytes, manifest_bytes: bytes, expected_name: str = "") -> str:
    """Check and register what was made elsewhere; its version. Raises `InvalidManifest` or `InvalidArtifact`."""
    manifest = read_foreign(manifest_bytes)
    if expected_name and manifest.name != expected_name:
        raise click.ClickException(f"the manifest is of {manifest.name!r}, asked for is {expected_name!r}")
    if manifest.name not in USE_CASES:
        raise click.ClickException(f"the manifest's name {manifest.name!r} is no use case; use {', '.join(USE_CASES)}")
    registry = registry_of(settings.home)
    version = registry.register(onnx_bytes, manifest)
    click.echo(f"registered {manifest.name} {version}; no alias means it yet")
    ours = USE_CASES[manifest.name].features.definition_hash
    if manifest.definition_hash != ours:
        click.echo(f"it cannot be promoted: it is of definition {manifest.definition_hash}, ours is {ours}", err=True)
    return version


def import_mlflow(settings: Settings, name: str, uri: str, model: str | None, alias: str) -> None:
    """Register the version that an alias means in MLflow, checked as any model that was made elsewhere."""
    from training import mlflow_store

    fetched = mlflow_store.fetch(uri, model or name, alias)
    click.echo(f"version {fetched.version} of {model or name!r} is the {alias} in MLflow")
    register_foreign(settings, fetched.onnx_bytes, fetched.manifest, name)


def move_alias(settings: Settings, name: str, alias: Alias, version: str | None, none: bool, by: str, why: str) -> None:
    """Say what an alias means, or let it mean a version, or nothing any more."""
    registry = registry_of(settings.home)
    present = registry.aliases(name).get(alias)
    if version is None and not none:
        click.echo(present or f"{alias} means nothing")
        return
    if version is not None and none:
        raise click.UsageError("give either a version or --none")
    is_given_up = none and alias == "champion" and name.endswith(f"-{FEEDBACK}")  # its use case goes on without
    if alias not in ("challenger", "shadow") and not is_given_up:
        raise click.UsageError(f"{alias} moves by 'headrace models promote' and 'rollback' alone")
    if not by:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    target = None if version is None else resolved(registry, name, version)
    try:
        registry.alias(name, alias, target, present, by=by, why=why)
    except AliasMoved as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"the {alias} of {name} is {target or 'nothing'}")


def export_model(settings: Settings, name: str, version: str, file: Path) -> None:
    """Write one version to a zip file."""
    registry = registry_of(settings.home)
    version = resolved(registry, name, version)
    click.echo(f"{name} {version}: {file}, SHA-256 {write_bundle(registry, name, version, file)}")


def import_model(settings: Settings, file: Path, sha256: str | None) -> None:
    """Register what a zip file holds, under its own version."""
    found = read_bundle(registry_of(settings.home), file, sha256)
    click.echo(f"registered {found.manifest.name} {found.manifest.version}; no alias means it yet")
    for part, digest in found.sha256.items():
        click.echo(f"{part:<16}{digest}")


def resolved(registry: Registry, name: str, version: str) -> str:
    """A version as people write it: itself, or an alias that means it. Raises `ModelNotFound`."""
    if version in ALIASES:
        return registry.resolve(name, version)
    return version


def _held(registry: Registry, name: str, version: str) -> list[str]:
    return [alias for alias, meant in registry.aliases(name).items() if meant == version]


def _print_json(content: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(content)).decode())
