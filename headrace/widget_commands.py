"""The commands of widgets: what may be written after them. `headrace.widgets` says what they do."""

from __future__ import annotations

from typing import Any

import click

from headrace.options import with_settings
from headrace.rule_commands import as_json
from headrace.settings import Settings
from review.widget_link import KINDS, LASTS_AT_MOST_S, SCHEMES, SPANS


@click.group("widget-key")
def widget_key() -> None:
    """Keys that sign the addresses of widgets."""


@widget_key.command("make")
@click.argument("name")
@with_settings("home")
def widget_key_make(settings: Settings, name: str) -> None:
    """Make a key and print its secret, this once."""
    from headrace.widgets import make_key

    make_key(settings, name)


@widget_key.command("list")
@as_json
@with_settings("home")
def widget_key_list(settings: Settings, **options: Any) -> None:
    """Every key, without secrets."""
    from headrace.widgets import print_keys

    print_keys(settings, **options)


@widget_key.command("revoke")
@click.argument("name")
@with_settings("home")
def widget_key_revoke(settings: Settings, name: str) -> None:
    """End a key, by its name or id: whatever it signed is refused from then on."""
    from headrace.widgets import revoke_key

    revoke_key(settings, name)


@click.command("widget-url")
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.option("--key", required=True, help="name or id of the key that signs")
@click.option(
    "--ancestor", "ancestors", multiple=True, required=True, help="origin whose pages may show it; repeatable"
)
@click.option("--entity", help="of entity-risk: whose risk")
@click.option("--span", type=click.Choice(SPANS), help="of the others: over what time")
@click.option("--theme", type=click.Choice(SCHEMES), help="light or dark whatever the browser says")
@click.option(
    "--hours", type=click.FloatRange(0.01, LASTS_AT_MOST_S / 3600), default=24.0, show_default=True, help="how long"
)
@with_settings("home", "review_url", "review_port")
def widget_url(settings: Settings, **options: Any) -> None:
    """Sign an address that another application may show in a frame."""
    from headrace.widgets import print_url

    print_url(settings, **options)
