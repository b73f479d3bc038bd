"""The `users` commands: what may be written after them. `headrace.users` says what they do."""

from __future__ import annotations

from typing import Any

import click

from headrace.options import with_settings
from headrace.rule_commands import as_json
from headrace.settings import Settings
from review.person import ROLES

_role = click.option("--role", type=click.Choice(ROLES), required=True, help="each may do what those before it may")


@click.group()
def users() -> None:
    """People who may use the analysts' pages. Admins do the same there, at /users."""


@users.command("list")
@as_json
@with_settings("home")
def users_list(settings: Settings, **options: Any) -> None:
    """Every account: its role, whether it can sign in, when it last did."""
    from headrace.users import print_users

    print_users(settings, **options)


@users.command("invite")
@click.argument("name")
@_role
@with_settings("home", "port", "review_url", "review_port", "review_pages")
def users_invite(settings: Settings, **options: Any) -> None:
    """Make an account and print the link that sets its password, this once."""
    from headrace.users import invite_user

    invite_user(settings, **options)


@users.command("link")
@click.argument("name")
@with_settings("home", "port", "review_url", "review_port", "review_pages")
def users_link(settings: Settings, **options: Any) -> None:
    """Print a link that sets an account's password anew: for who lost it, or waits for failed tries."""
    from headrace.users import link_user

    link_user(settings, **options)


@users.command("role")
@click.argument("name")
@_role
@with_settings("home")
def users_role(settings: Settings, **options: Any) -> None:
    """Give an account another role, from its next request on."""
    from headrace.users import set_user_role

    set_user_role(settings, **options)


@users.command("off")
@click.argument("name")
@with_settings("home")
def users_off(settings: Settings, **options: Any) -> None:
    """Keep an account out, and end its sessions."""
    from headrace.users import turn_user

    turn_user(settings, to="off", **options)


@users.command("on")
@click.argument("name")
@with_settings("home")
def users_on(settings: Settings, **options: Any) -> None:
    """Let an account in again."""
    from headrace.users import turn_user

    turn_user(settings, to="on", **options)
