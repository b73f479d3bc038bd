"""What `headrace recommend promote` and `rollback` do: the gates of rankers, and the alias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from headrace.every import NotYet
from headrace.model_tables import gates_table
from headrace.promotion import chosen
from headrace.settings import Settings
from models.aliases import AliasMoved
from scoring.live_models import registry_of
from scoring.ranked_features import DEFINITION_HASH, NAME
from stream.interaction_file import Columns
from training.gates import failed
from training.ranker_gates import RankerContest, judge_ranker
from training.slate_rows import SlateRows

JUDGE_SHARE = 0.25
"""Of the slates, the last ones: what judges where teaching and judging share one log."""


def later_and_earlier(rows: SlateRows) -> tuple[SlateRows, SlateRows]:
    """The slates that teach, and the later ones that judge."""
    if not len(rows.y):
        return rows, rows
    cut_us = int(np.quantile(rows.at_us, 1.0 - JUDGE_SHARE))
    return rows.where(rows.at_us <= cut_us), rows.where(rows.at_us > cut_us)


def promote_ranker(
    settings: Settings,
    version: str | None,
    archive: Path | None,
    data: Path | None,
    catalogue: Path | None,
    force: bool,
    dry_run: bool,
    by: str,
    why: str,
    **columns: Any,
) -> int:
    """Judge a ranker by later slates; the exit status: 0 where it passed, or was forced."""
    from headrace.recommend_train import rows_of, shop_of

    if not dry_run and not by:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    if force and not why.strip():
        raise click.UsageError("--force needs --why: whoever reads the history must know")
    registry = registry_of(settings.home)
    if not registry.versions(NAME):
        raise click.ClickException(f"there is no ranker in {settings.home}; run 'headrace recommend train'")
    version = version or chosen(registry, NAME)
    rows = rows_of(shop_of(settings, data, catalogue, archive, Columns(**columns)))
    return crown(settings, version, rows, by=by, why=why, force=force, dry_run=dry_run)


def crown(
    settings: Settings, version: str, rows: SlateRows, *, by: str, why: str, force: bool = False, dry_run: bool = False
) -> int:
    """Let the gates judge a ranker, say what they say, and make it the champion unless one failed."""
    registry = registry_of(settings.home)
    champion = registry.aliases(NAME).get("champion")
    if champion == version:
        raise click.ClickException(f"{NAME} {version} is the champion already; there is nothing to promote")
    present = None if champion is None else registry.load(NAME, champion)
    contest = RankerContest(registry.load(NAME, version), present, DEFINITION_HASH, rows)
    verdicts = judge_ranker(contest)
    against = "the blend" if champion is None else f"the champion {champion}"
    Console().print(gates_table(f"{NAME} {version} against {against}", verdicts, None))
    refused = failed(verdicts)
    if dry_run:
        return 1 if refused else 0
    if refused and not force:
        raise NotYet(f"{NAME} {version} is not promoted. " + "; ".join(f"{one.gate}: {one.says}" for one in refused))
    try:
        registry.alias(
            NAME,
            "champion",
            version,
            champion,
            by=by,
            why=why,
            gates={one.gate: str(one) for one in verdicts},
            forced=[one.gate for one in refused],
        )
    except AliasMoved as error:
        raise click.ClickException(str(error)) from None
    forced = f", forced past: {', '.join(one.gate for one in refused)}" if refused else ""
    click.echo(f"{NAME} {version} is the champion{forced}")
    return 0


def roll_back_ranker(settings: Settings, *, by: str, why: str) -> None:
    """Make the champion before the present one champion again; scorers swap by themselves."""
    if not by:
        raise click.UsageError("nobody knows who does it; give --by NAME")
    registry = registry_of(settings.home)
    present = registry.aliases(NAME).get("champion")
    try:
        version = registry.rollback(NAME, present, by=by, why=why)
    except AliasMoved as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{NAME} {version} is the champion again")
