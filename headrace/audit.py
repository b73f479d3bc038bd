"""What the audit commands do: keep the chain, check it, recompute a decision from it."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from pathlib import Path
from threading import Event

import click
import msgspec

from headrace.process_metrics import watched
from headrace.settings import Settings
from headrace.waiting import open_log_when_up
from scoring.recomputed import Recomputed
from stream.chain import Chain, ChainBroken
from stream.chain_check import ChainCheck, Verdict

AUDIT_FOLDER = "audit"
ANCHOR = re.compile(r"([1-9][0-9]*):([0-9a-f]{64})")
SHOWN_CHARACTERS = 100


def open_chain(settings: Settings) -> Chain:
    """The chain of the home."""
    return Chain(settings.home / AUDIT_FOLDER, settings.audit_key)


def has_chain(settings: Settings) -> bool:
    """Whether anything was ever kept in this home."""
    return any((settings.home / AUDIT_FOLDER).glob("*.chain"))


def run_audit_keeper(settings: Settings, stop: Event) -> None:
    """Keep every decision in the chain until stopped."""
    from scoring.audit_artefacts import Artefacts
    from scoring.use_case import USE_CASES
    from stream.connection import RedisConnection
    from stream.decision_keeper import keep_forever

    log = open_log_when_up(settings, stop)
    if log is None:
        return
    policy = Path(settings.policy) if settings.policy else None
    with closing(log), closing(open_chain(settings)) as chain, RedisConnection(settings.redis) as connection:
        artefacts = Artefacts(connection, chain, USE_CASES.values(), policy)
        with watched(settings, log) as log:
            keep_forever(chain, log, artefacts, stop)


def verify_chain(settings: Settings, anchors: tuple[str, ...], as_json: bool) -> int:
    """Check all of it, say what was found. The exit status: 0 when nothing is wrong."""
    _demand_chain(settings)
    kept: dict[int, str] = {}
    for anchor in anchors:
        found = ANCHOR.fullmatch(anchor)
        if found is None:
            raise click.UsageError(
                f"--anchor {anchor!r} is none; give NUMBER:HASH as 'headrace audit anchor' printed it"
            )
        kept[int(found[1])] = found[2]
    verdict = ChainCheck(settings.home / AUDIT_FOLDER, settings.audit_key, kept).run()
    if as_json:
        click.echo(msgspec.json.encode(verdict))
    else:
        _say(verdict, len(kept))
    return 0 if verdict.is_good else 1


def print_anchor(settings: Settings) -> None:
    """The number and the hash of the newest entry."""
    _demand_chain(settings)
    with closing(open_chain(settings)) as chain:
        try:
            click.echo(str(chain.head()))
        except ChainBroken as error:
            raise click.ClickException(str(error)) from error


def replay_decision(settings: Settings, event_id: str, as_json: bool) -> int:
    """Recompute every answer to an event that was kept. The exit status: 1 when a field differs."""
    from scoring.audit_sources import NotKept, Sources
    from scoring.live_models import registry_of
    from scoring.recompute import Recomputer
    from scoring.use_case import USE_CASES
    from stream.records import Decision, decode

    _demand_chain(settings)
    results: list[Recomputed] = []
    with closing(open_chain(settings)) as chain:
        try:
            sources = Sources(chain)
            recomputers: dict[str, Recomputer] = {}
            for entry in sources.decisions(event_id):
                if entry.is_erased:
                    raise NotKept(f"entry {entry.number} was erased: its decision cannot be recomputed")
                if not (entry.is_whole and entry.is_hashed_with(chain.key)):
                    raise ChainBroken(f"entry {entry.number} was changed; run 'headrace audit verify'")
                name: str = decode(entry.payload, Decision).use_case
                if name not in recomputers:
                    registry = registry_of(settings.home)
                    recomputers[name] = Recomputer(USE_CASES[name], sources, registry, settings.let_through_key)
                results.append(recomputers[name].run(entry))
        except (ChainBroken, NotKept) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode([_told(result) for result in results]))
    else:
        for result in results:
            _print_result(result)
    return 1 if any(result.differing for result in results) else 0


def _told(result: Recomputed) -> dict[str, object]:
    return {
        "event_id": result.event_id,
        "entry": result.entry,
        "differing": result.differing,
        "unchecked": result.unchecked,
        "notes": result.notes,
        "fields": result.fields,
    }


def _print_result(result: Recomputed) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"event {ascii(result.event_id)[1:-1]}, entry {result.entry}")
    for heading in ("field", "", "logged", "recomputed"):
        table.add_column(heading, overflow="fold")
    for field in result.fields:
        state = "not checked" if field.unchecked else "differs" if field.differs else "equal"
        shown = field.unchecked or ("" if state == "equal" else _shown(field.recomputed))
        # As text: whoever sends transactions chooses these words, and neither markup nor a terminal may obey them.
        table.add_row(field.name, state, Text(_shown(field.logged)), Text(shown))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for note in result.notes:
        click.echo(f"note: {note}")
    equal = len(result.fields) - len(result.differing) - len(result.unchecked)
    words = f"{equal} fields equal bit for bit, {len(result.unchecked)} not checked, {len(result.differing)} differ"
    click.echo(words + (f": {', '.join(result.differing)}" if result.differing else ""))


def _shown(value: object) -> str:
    text = ascii(msgspec.json.encode(value).decode())[1:-1]
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _say(verdict: Verdict, anchors: int) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(verdict.by_kind.items()))
    if verdict.is_good:
        click.echo(
            f"good: {verdict.entries:,} entries in {verdict.segments} segments ({kinds}); {verdict.erased:,} erased"
        )
        click.echo(f"head {verdict.head}")
        if not anchors:
            click.echo("a tail cut off, or all of it written anew, shows against an anchor only: give --anchor")
        return
    place = f"segment {verdict.segment}, entry {verdict.entry}" if verdict.segment else f"entry {verdict.entry}"
    click.echo(f"BROKEN at {place}: {verdict.problem}")
    click.echo(f"good up to entry {verdict.entries:,} ({kinds})")


def _demand_chain(settings: Settings) -> None:
    if not has_chain(settings):
        raise click.ClickException(f"nothing is kept in {settings.home}; run 'headrace audit keep', or give --home")
