"""What `headrace learner` does: reads the learner's file, and changes it while the learner runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from headrace.settings import Settings
from models.snapshot import InvalidWeights, OnlineWeights
from stream.records import from_micros
from training import learner_acts
from training.learner_guard import GuardState, stored_state
from training.learner_kept import Act, Kept, Snapshot
from training.learner_report import Counters, Freeze
from training.learner_store import FILE, LearnerStore
from training.paired_losses import Comparison, PairedLosses


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What `show` prints."""

    version: str
    ready: bool
    frozen: list[Freeze]
    twin: Comparison | None
    counters: Counters
    snapshots: int
    acts: list[Act]


def print_learner(settings: Settings, as_json: bool) -> None:
    """The learner's state, as its file has it."""
    with _opened(settings) as store:
        found = _shown(store)
    if as_json:
        _print_json(found)
        return
    counters = found.counters
    facts = {
        "version": found.version + ("" if found.ready else ", which has not learned enough to be heard"),
        "labels": f"{counters.learned:,} learned, {counters.waiting:,} decisions wait, {counters.reversed:,} reversed",
        "not learned": f"{counters.frozen:,} while it stood still, {counters.broken:,} scored within a spike of nulls, "
        f"{counters.skipped_definition:,} of another definition",
        "snapshots": f"{found.snapshots}",
    }
    if found.twin is not None:
        facts["log loss"] = (
            f"{found.twin.live:.4g}, of the twin {found.twin.twin:.4g}, over {found.twin.labels:,} labels "
            f"with {found.twin.frauds:,} frauds"
        )
    for heading, text in facts.items():
        click.echo(f"{heading:<12}{text}")
    for freeze in found.frozen:
        who = f" by {freeze.by}" if freeze.by else ""
        click.echo(
            f"{'frozen':<12}{freeze.why}, since {from_micros(freeze.at_us):%Y-%m-%d %H:%M:%S}{who}: {freeze.says}"
        )
    if not found.frozen:
        click.echo(f"{'frozen':<12}no")
    for act in found.acts:
        version = f" {act.version}" if act.version else ""
        click.echo(f"{'act':<12}{act.at:%Y-%m-%d %H:%M:%S} {act.act}{version} by {act.by}: {act.why}")


def print_snapshots(settings: Settings, as_json: bool) -> None:
    """The snapshots that are kept, the newest first."""
    with _opened(settings) as store:
        found = store.kept.snapshots()[::-1]
    if as_json:
        _print_json(found)
        return
    table = Table(title="snapshots of the online learner")
    for heading in ("version", "last label", "learned", "labels judged", "log loss", "AUC", "average precision"):
        table.add_column(heading, no_wrap=heading == "version")
    for one in found:
        table.add_row(*_cells(one))
    Console().print(table)


def freeze_learner(settings: Settings, by: str, why: str) -> None:
    """Let it stand still."""
    with _opened(settings) as store:
        version = learner_acts.freeze(store, _named(by), why, datetime.now(UTC))
    click.echo(f"the learner stands still at version {version}; 'headrace learner thaw' lets it learn again")


def thaw_learner(settings: Settings, by: str, why: str) -> None:
    """Let it learn."""
    with _opened(settings) as store:
        held = learner_acts.thaw(store, _named(by), why, datetime.now(UTC))
    click.echo(f"the learner learns again; it stood still for: {', '.join(freeze.why for freeze in held)}")


def restore_learner(settings: Settings, version: str, by: str, why: str) -> None:
    """Go back."""
    with _opened(settings) as store:
        became = learner_acts.restore(store, version, _named(by), why, datetime.now(UTC))
        frozen = stored_state(store.kept).frozen
    held = f"; it still stands still ({', '.join(freeze.why for freeze in frozen)})" if frozen else ""
    click.echo(f"the weights of {version} are version {became} now{held}")


@contextmanager
def _opened(settings: Settings) -> Iterator[LearnerStore]:
    path: Path = settings.home / FILE
    if not path.exists():
        raise click.ClickException(f"there is no {path}: run this where 'headrace learn' runs, with its --home")
    with closing(LearnerStore(path)) as store:
        yield store


def _named(by: str) -> str:
    if not by.strip():
        raise click.UsageError("nobody knows who does it; give --by NAME")
    return by


def _shown(store: LearnerStore) -> Shown:
    _, stored, counters = store.state()
    if stored is None or counters is None:
        raise click.ClickException("the learner has not learned anything yet; run 'headrace learn'")
    try:
        weights = OnlineWeights.from_json(stored)
    except InvalidWeights as error:
        raise click.ClickException(f"{error}; the learner begins anew when it starts") from None
    state = stored_state(store.kept)
    return Shown(
        version=weights.version,
        ready=weights.ready,
        frozen=state.frozen,
        twin=_twin(store.kept, state),
        counters=msgspec.json.decode(counters, type=Counters),
        snapshots=len(store.kept.snapshots()),
        acts=list(store.kept.acts()),
    )


def _twin(kept: Kept, state: GuardState) -> Comparison | None:
    return PairedLosses.of(kept.pairs(), state.with_twin).comparison()


def _cells(one: Snapshot) -> list[str]:
    quality = one.quality
    figures = (None, None, None) if quality is None else (quality.log_loss, quality.auc, quality.average_precision)
    shown = ["" if figure is None else f"{figure:.4f}" for figure in figures]
    judged = "" if quality is None else f"{quality.labels:,}"
    return [one.version, f"{from_micros(one.at_us):%Y-%m-%d %H:%M}", f"{one.learned:,}", judged, *shown]


def _print_json(found: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
