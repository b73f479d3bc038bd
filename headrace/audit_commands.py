"""`headrace audit` and `headrace forget`: the chain of decisions, and what it must not keep."""

from __future__ import annotations

import sys
from typing import Any

import click

from headrace.options import OF_PROCESSES, with_settings
from headrace.settings import Settings

as_json = click.option("--json", "as_json", is_flag=True, help="print JSON instead")


@click.group()
def audit() -> None:
    """The chain of all decisions: keep it, check it, recompute a decision from it."""


@audit.command("keep")
@with_settings("home", "redis", "kafka", "partitions", "policy", "audit_key", *OF_PROCESSES)
def audit_keep(settings: Settings) -> None:
    """Append every decision of the log to the chain."""
    from headrace.audit import run_audit_keeper
    from headrace.cli import stop_on_signals

    run_audit_keeper(settings, stop_on_signals())


@audit.command("verify")
@click.option("--anchor", "anchors", multiple=True, help="NUMBER:HASH, as it was printed and kept elsewhere")
@as_json
@with_settings("home", "audit_key")
def audit_verify(settings: Settings, anchors: tuple[str, ...], as_json: bool) -> None:
    """Check the whole chain; status 1 at the first place that is wrong."""
    from headrace.audit import verify_chain

    sys.exit(verify_chain(settings, anchors, as_json))


@audit.command("anchor")
@with_settings("home", "audit_key")
def audit_anchor(settings: Settings) -> None:
    """Number and hash of the newest entry, to keep where nobody who writes the chain can reach."""
    from headrace.audit import print_anchor

    print_anchor(settings)


@audit.command("replay")
@click.argument("event_id")
@as_json
@with_settings("home", "audit_key", "let_through_key")
def audit_replay(settings: Settings, event_id: str, as_json: bool) -> None:
    """Recompute a decision from the chain and compare it bit for bit; status 1 where a field differs."""
    from headrace.audit import replay_decision

    sys.exit(replay_decision(settings, event_id, as_json))


@click.command()
@click.argument("entity")
@click.argument("value")
@click.option("--by", required=True, help="who asked for it; stays in the audit chain")
@click.option("--why", default="", help="stays in the audit chain")
@click.option("--dry-run", is_flag=True, help="only say what would be erased where")
@with_settings("home", "redis", "kafka", "partitions", "audit_key", "card_numbers", "card_key")
def forget(settings: Settings, **options: Any) -> None:
    """Erase one entity everywhere, such as `card_id C1`; status 1 where something of it is left."""
    from headrace.forget import forget_entity

    sys.exit(forget_entity(settings, **options))
