"""What the commands of widgets do: keys, and addresses that are signed with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import click

from headrace.review import store_of_command
from headrace.rule_tables import print_json, print_tables, table_of
from headrace.settings import Settings
from headrace.users import BY
from review.engine import CasesUnavailable
from review.refusals import Refused
from review.web.site import Site
from review.widget_keys import DeploymentSecret, NoWidgetSecret, WidgetKeys
from review.widget_link import InvalidLink, signed_path


def make_key(settings: Settings, name: str) -> None:
    """Make a key and print its secret, this once."""
    with _keys(settings) as keys:
        key, secret = keys.make(name, BY, datetime.now(UTC))
    click.echo(f"key     {key.key_id}\nsecret  {secret}")
    click.echo("the secret is not shown again; give it to the application that signs", err=True)


def print_keys(settings: Settings, as_json: bool) -> None:
    """Every key there ever was, without secrets."""
    with _keys(settings) as keys:
        found = keys.all()
    if as_json:
        print_json(found)
        return
    table = table_of(f"{len(found)} keys of widgets", ("key", "name", "made", "by", "state"))
    for key in found:
        state = "signs" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M} by {key.revoked_by}"
        table.add_row(key.key_id, key.name, f"{key.made_at:%Y-%m-%d %H:%M}", key.made_by, state)
    print_tables(table)


def revoke_key(settings: Settings, name: str) -> None:
    """End a key."""
    with _keys(settings) as keys:
        key = keys.revoke(name, BY, datetime.now(UTC))
    click.echo(f"key {key.key_id} ({key.name}) is revoked; what it signed is refused from now on")


def print_url(
    settings: Settings, kind: str, key: str, ancestors: tuple[str, ...], hours: float, **given: str | None
) -> None:
    """An address that a host application may put into a frame."""
    now = datetime.now(UTC)
    until = now + timedelta(hours=hours)
    with _keys(settings) as keys:
        found = next((one for one in keys.all() if key in (one.key_id, one.name) and one.revoked_at is None), None)
        if found is None:
            raise Refused(f"there is no key {key!r} that signs; see 'headrace review widget-key list'")
        parameters = {name: value for name, value in given.items() if value}
        parameters |= {"key": found.key_id, "expires": str(int(until.timestamp())), "ancestors": " ".join(ancestors)}
        path = signed_path(kind, parameters, keys.secret_of(found.key_id))
        keys.note(found.key_id, kind, ancestors, until, BY, now)
    click.echo(Site(settings.review_url).url(path, f"localhost:{settings.review_port}"))
    click.echo(f"it holds until {until:%Y-%m-%d %H:%M} UTC", err=True)


@contextmanager
def _keys(settings: Settings) -> Iterator[WidgetKeys]:
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with closing(store_of_command(settings)) as store:
            yield WidgetKeys(store.database, DeploymentSecret(settings.home, settings.widget_key))
    except (CasesUnavailable, InvalidLink, NoWidgetSecret, Refused) as error:
        raise click.ClickException(str(error)) from None
