"""What `headrace models promote` and `rollback` do: the gates, the alias, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console

from headrace.frames import FrameOptions, label_cutoff, open_frame
from headrace.model_tables import gates_table
from headrace.settings import Settings
from models.aliases import AliasMoved
from models.ensemble import FEEDBACK
from models.registry import Registry
from scoring.live_models import registry_of
from scoring.use_case import USE_CASES, UseCase
from training.frame import TrainingFrame
from training.gates import PromotionRefused
from training.policy_cost import PolicyCost
from training.promotion import Judged, judge_version, promote


class Report(msgspec.Struct, frozen=True):
    """What the gates said of a version, for machines."""

    name: str
    version: str
    champion: str | None
    promoted: bool
    rows: int
    frauds: int
    span: str
    gates: dict[str, str]
    failed: list[str]


def promote_version(
    settings: Settings,
    name: str,
    version: str | None,
    options: FrameOptions,
    *,
    by: str,
    why: str,
    force: bool,
    dry_run: bool,
    json_file: Path | None,
) -> int:
    """Judge a version and make it the champion; the exit status: 0 where it passed or was forced."""
    use_case = use_case_of(name)
    registry = registry_of(settings.home)
    version = version or chosen(registry, name)
    frame = open_frame(settings, use_case, options, label_cutoff(registry, use_case, version))
    return through_gates(settings, registry, use_case, version, frame, by, why, force, dry_run, json_file)


def through_gates(
    settings: Settings,
    registry: Registry,
    use_case: UseCase,
    version: str,
    frame: TrainingFrame,
    by: str,
    why: str,
    force: bool = False,
    dry_run: bool = False,
    json_file: Path | None = None,
) -> int:
    """Judge a version by these rows, print what the gates say, and promote it unless one failed. The exit status."""
    costs = costs_of(settings, use_case)
    with Console(stderr=True).status("judging"):
        judged = judge_version(registry, use_case.name, version, frame, costs)
    _print(judged)
    refusal = ""
    if not dry_run:
        try:
            promote(registry, judged, by=by, why=why, force=force)
        except (PromotionRefused, AliasMoved) as error:
            refusal = str(error)
    failed = [verdict.gate for verdict in judged.verdicts if verdict.passed is False]
    if json_file is not None:
        json_file.write_bytes(
            msgspec.json.format(msgspec.json.encode(_report(judged, not (dry_run or refusal), failed)))
        )
    if refusal:
        raise click.ClickException(refusal)
    if dry_run:
        return 1 if failed else 0
    click.echo(f"{use_case.name} {version} is the champion" + (f", forced past: {', '.join(failed)}" if failed else ""))
    return 0


def roll_back(settings: Settings, name: str, *, by: str, why: str, force: bool) -> None:
    """Make the champion before the present one champion again; scorers swap by themselves."""
    use_case = use_case_of(name.removesuffix(f"-{FEEDBACK}"))
    registry = registry_of(settings.home)
    present = registry.aliases(name).get("champion")
    manifest = registry.manifest(name, registry.before(name))
    ours = use_case.features.definition_hash
    if manifest.definition_hash != ours and not force:
        raise click.ClickException(
            f"the champion before, {manifest.version}, is of definition {manifest.definition_hash}, the features are "
            f"{ours}: no scorer would take it; go back to the code of that time, or give --force"
        )
    try:
        version = registry.rollback(name, present, by=by, why=why)
    except AliasMoved as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{name} {version} is the champion again")


def use_case_of(name: str) -> UseCase:
    """The use case of a model's name."""
    if name in USE_CASES:
        return USE_CASES[name]
    from scoring.ranked_features import NAME as RANKER  # here, as it loads what is compiled

    if name == RANKER:
        raise click.ClickException("rankers have gates of their own: 'headrace recommend promote' and 'rollback'")
    raise click.ClickException(f"there is no use case {name!r}; there is {', '.join(USE_CASES)}")


def costs_of(settings: Settings, use_case: UseCase) -> PolicyCost:
    """What outcomes cost by the policy that the settings name."""
    return PolicyCost(Path(settings.policy) if settings.policy else use_case.policy, use_case.source)


def chosen(registry: Registry, name: str) -> str:
    """The version that a command means which names none: the challenger, or else the newest."""
    if challenger := registry.aliases(name).get("challenger"):
        return challenger
    versions = registry.versions(name)
    return versions[-1] if versions else registry.resolve(name)


def _print(judged: Judged) -> None:
    against = "no champion" if judged.trial.champion is None else f"the champion {judged.champion}"
    title = f"{judged.name} {judged.version} against {against}"
    Console().print(gates_table(title, judged.verdicts, judged.trial.note or None))


def _report(judged: Judged, promoted: bool, failed: list[str]) -> Report:
    trial = judged.trial
    gates = {verdict.gate: str(verdict) for verdict in judged.verdicts}
    return Report(
        judged.name, judged.version, judged.champion, promoted, trial.rows, trial.frauds, trial.span, gates, failed
    )
