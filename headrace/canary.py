"""What `headrace models canary` and `drop` do."""

from __future__ import annotations

import click

from headrace.models import resolved
from headrace.promotion import chosen, costs_of, use_case_of
from headrace.settings import Settings
from models.aliases import SHARES, Alias, AliasMoved
from scoring.live_models import registry_of
from training.canary import NoCanary, start_canary
from training.gates import PromotionRefused

BESIDE: tuple[Alias, ...] = ("canary", "challenger", "shadow")
"""What a version can be beside the champion; first what answers anybody."""


def run_canary(settings: Settings, name: str, version: str | None, share: int, by: str, why: str) -> None:
    """Let a version (the challenger, or else the newest) answer a share of the entities; 0 ends it."""
    if not by:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    if share not in (0, *SHARES):
        allowed = ", ".join(map(str, SHARES))
        raise click.UsageError(
            f"--share {share} is none of {allowed} (percent of the entities), or 0 to end the canary"
        )
    use_case, registry = use_case_of(name), registry_of(settings.home)
    if share == 0:
        return _end(settings, name, ("canary",), by, why)
    present = registry.canary(name)
    version = resolved(registry, name, version) if version else present.version if present else chosen(registry, name)
    costs = costs_of(settings, use_case)
    try:
        verdicts = start_canary(registry, use_case, version, share, costs, by=by, why=why)
    except (NoCanary, PromotionRefused, AliasMoved) as error:
        raise click.ClickException(str(error)) from None
    for verdict in verdicts:
        click.echo(f"gate {verdict.gate:<15}{verdict}")
    click.echo(f"{name} {version} is the canary: it answers {share}% of the entities, the champion the others")
    return None


def drop_models(settings: Settings, name: str, by: str, why: str) -> None:
    """End whatever is beside the champion: canary, challenger and shadow."""
    if not by:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    use_case_of(name)
    _end(settings, name, BESIDE, by, why)


def _end(settings: Settings, name: str, ended: tuple[Alias, ...], by: str, why: str) -> None:
    registry = registry_of(settings.home)
    meant = registry.aliases(name)
    present = [alias for alias in ended if alias in meant]
    for alias in present:
        try:
            registry.alias(name, alias, None, meant[alias], by=by, why=why)
        except AliasMoved as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{name} {meant[alias]} is the {alias} no longer")
    if not present:
        click.echo(f"{name} has no {' or '.join(ended)}")
