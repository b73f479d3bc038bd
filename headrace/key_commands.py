"""The `keys` commands: what may be written after them. `headrace.keys` says what they do."""

from __future__ import annotations

from typing import Any

import click

from headrace.options import with_settings
from headrace.rule_commands import as_json, by, why
from headrace.settings import Settings


@click.group()
def keys() -> None:
    """API keys of the service: made, replaced, ended; obeyed by every service within a second."""


@keys.command("create")
@click.option("--name", required=True, help="what it is for, such as checkout")
@click.option("--owner", default="", help="whose it is, such as a team's address")
@click.option("--scope", "scopes", multiple=True, required=True, help="such as fraud:score, fraud:*; any number")
@click.option("--rate", type=float, help="requests a second, over all services; a batch counts its records")
@click.option("--burst", type=int, help="requests at once [as many as in one second, at least 10]")
@click.option("--body-limit", type=int, help="bytes in one request body")
@click.option("--expires", default="ever", show_default=True, help="when it ends, such as 90d")
@by
@why
@with_settings("home", "redis")
def keys_create(settings: Settings, **options: Any) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from headrace.keys import create_key

    create_key(settings, **options)


@keys.command("list")
@as_json
@with_settings("home", "redis")
def keys_list(settings: Settings, **options: Any) -> None:
    """Every key that was not revoked: what it may do, how often, until when."""
    from headrace.keys import print_keys

    print_keys(settings, **options)


@keys.command("rotate")
@click.argument("key_id")
@click.option("--grace", default="1d", show_default=True, help="how long the old secret is taken too; 0s: no longer")
@by
@why
@with_settings("home", "redis")
def keys_rotate(settings: Settings, **options: Any) -> None:
    """Give a key a new secret and print it, this once."""
    from headrace.keys import rotate_key

    rotate_key(settings, **options)


@keys.command("revoke")
@click.argument("key_id")
@by
@why
@with_settings("home", "redis")
def keys_revoke(settings: Settings, **options: Any) -> None:
    """End a key, with all its secrets and for ever."""
    from headrace.keys import revoke_key

    revoke_key(settings, **options)


@keys.command("history")
@click.argument("key_id", required=False)
@as_json
@with_settings("home", "redis")
def keys_history(settings: Settings, **options: Any) -> None:
    """Who made, replaced or ended which key, and when."""
    from headrace.keys import print_key_history

    print_key_history(settings, **options)
