"""What the `users` commands do: for whoever has the machine, and for when no admin can sign in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click

from headrace.review import store_of_command
from headrace.rule_tables import print_json, print_tables, table_of
from headrace.settings import Settings
from review.accounts import Accounts
from review.engine import CasesUnavailable
from review.person import Role
from review.web.site import Site

BY = "command line"
FIRST = "nobody can sign in yet; this link makes the first admin, once, within the hour:"


def print_users(settings: Settings, as_json: bool) -> None:
    """Every account: its role, whether it can sign in, when it did."""
    with _accounts(settings) as accounts:
        found = accounts.all(_now())
    if as_json:
        names = ("name", "role", "state", "made_at", "signed_in_at", "sessions", "locked_until")
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return
    table = table_of(f"{len(found)} accounts", ("name", "role", "state", "signed in", "sessions"))
    for one in found:
        signed_in = f"{one.signed_in_at:%Y-%m-%d %H:%M}" if one.signed_in_at else "never"
        table.add_row(one.name, one.role, one.state, signed_in, str(one.sessions))
    print_tables(table)


def invite_user(settings: Settings, name: str, role: Role) -> None:
    """Make an account and print the link that sets its password."""
    with _accounts(settings) as accounts:
        _say_link(settings, accounts.invite(name, role, BY, _now()))


def link_user(settings: Settings, name: str) -> None:
    """Print a link that sets an account's password anew."""
    with _accounts(settings) as accounts:
        token = accounts.links.make(name, BY, _now())
        accounts.unlock(name, BY, _now())
    _say_link(settings, token)


def set_user_role(settings: Settings, name: str, role: Role) -> None:
    """Give an account another role."""
    with _accounts(settings) as accounts:
        accounts.set_role(name, role, BY, _now())
    click.echo(f"{name} is {role}")


def turn_user(settings: Settings, name: str, to: str) -> None:
    """Turn an account `on` or `off`."""
    with _accounts(settings) as accounts:
        (accounts.turn_on if to == "on" else accounts.turn_off)(name, BY, _now())
    click.echo(f"{name} is turned {to}")


def pages_said(settings: Settings, url: str) -> str:
    """Where the pages of the service at `url` are, with a fresh link where nobody can sign in yet.

    The service says the like in its log, which nobody reads whose stack started it; this link ends that one.
    """
    place = urlsplit(url)
    with _accounts(settings) as accounts:
        link = first_link(settings, accounts, place.port or 80)
    address = Site(settings.review_url).url("/review", f"localhost:{place.port}")
    said = f"analysts' pages at {address}"
    return said if link is None else f"{said}\n{FIRST}\n  {link}"


def first_link(settings: Settings, accounts: Accounts, port: int) -> str | None:
    """The address that makes the first admin; None where there is one."""
    token = accounts.links.first(_now())
    return None if token is None else Site(settings.review_url).url(f"/set-password/{token}", f"localhost:{port}")


@contextmanager
def _accounts(settings: Settings) -> Iterator[Accounts]:
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with closing(store_of_command(settings)) as cases:
            yield Accounts(cases.database)
    except CasesUnavailable as error:
        raise click.ClickException(str(error)) from None


def _say_link(settings: Settings, token: str) -> None:
    # Where the pages are in the service they are at its port.
    port = (settings.port or 3000) if settings.review_pages else settings.review_port
    click.echo(Site(settings.review_url).url(f"/set-password/{token}", f"localhost:{port}"))
    click.echo("it sets the password, works once, and is not shown again", err=True)


def _now() -> datetime:
    return datetime.now(UTC)
