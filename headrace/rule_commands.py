"""The `rules` commands: what may be written after them. `headrace.rules` and `headrace.rule_lists` say what they do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from headrace.options import Command, with_settings
from headrace.settings import Settings

by = click.option("--by", required=True, help="who does it")
why = click.option("--why", default="", help="for whoever reads the history")
as_json = click.option("--json", "as_json", is_flag=True, help="as JSON")


@click.group()
def rules() -> None:
    """Rules: written, tried, approved by a second person, live within a second. Lists and snoozes."""


@rules.command("list")
@click.option("--all", "with_ended", is_flag=True, help="also those that have ended")
@as_json
@with_settings("home", "redis")
def rules_list(settings: Settings, **options: Any) -> None:
    """Every rule: how far it has come, what it does and when."""
    from headrace.rules import print_rules

    print_rules(settings, **options)


@rules.command("show")
@click.argument("name")
@as_json
@with_settings("home", "redis")
def rules_show(settings: Settings, **options: Any) -> None:
    """One rule: its revisions, what its backtest found, its snoozes."""
    from headrace.rules import print_rule

    print_rule(settings, **options)


@rules.command("check")
@click.argument("when")
@click.option("--sql", is_flag=True, help="print it as SQL over archived decisions")
@with_settings("home", "redis")
def rules_check(settings: Settings, **options: Any) -> None:
    """Whether a condition is understood; an error points at the character. Needs no Redis."""
    from headrace.rules import check_condition

    check_condition(settings, **options)


@rules.command("add")
@click.argument("name")
@click.option("--when", required=True, help="the condition, such as 'amount > 500 and card_count_1h >= 3'")
@click.option("--action", type=click.Choice(["approve", "review", "decline", "add", "tag"]), required=True)
@click.option("--add", type=click.FloatRange(-1.0, 1.0), help="what an add rule adds to the score")
@click.option("--tag", help="what a tag rule attaches")
@click.option(
    "--priority", type=int, default=0, show_default=True, help="of a higher one, a rule decides before others"
)
@click.option("--because", default="", help="why, in words for an analyst")
@by
@why
@with_settings("home", "redis")
def rules_add(settings: Settings, by: str, why: str, **rule: Any) -> None:
    """Write a draft; of a rule that there is, its next revision. What is live stays until that is approved."""
    from headrace.rules import add_rule

    add_rule(settings, by, why, rule)


@rules.command("backtest")
@click.argument("name")
@click.option("--from", "since", type=click.DateTime(), help="first day of the decisions (UTC)")
@click.option("--to", "until", type=click.DateTime(), help="the day after the last (UTC)")
@click.option("--lists", type=click.Choice(["then", "now"]), default="then", show_default=True, help="ask lists as of")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="write the figures too")
@by
@with_settings("home", "redis", "label_delay")
def rules_backtest(
    settings: Settings, since: datetime | None, until: datetime | None, lists: str, **options: Any
) -> None:
    """Try a rule on the archive's decisions: how often it fires, how right it is, what it saves and harms."""
    from headrace.rules import backtest_rule

    backtest_rule(settings, since, until, lists == "now", **options)


@rules.command("shadow")
@click.argument("name")
@by
@why
@with_settings("home", "redis")
def rules_shadow(settings: Settings, **options: Any) -> None:
    """Let scorers ask a backtested rule, and note what it would do."""
    from headrace.rules import shadow_rule

    shadow_rule(settings, **options)


@rules.command("approve")
@click.argument("name")
@click.option("--revision", type=int, help="the one that you looked at; refused if it is another by now")
@click.option("--for", "lifetime", default="90d", show_default=True, help="how long it lives, such as 12h, or 'ever'")
@by
@why
@with_settings("home", "redis")
def rules_approve(settings: Settings, **options: Any) -> None:
    """Make a rule in shadow live; not for the person who wrote it."""
    from headrace.rules import approve_rule

    approve_rule(settings, **options)


@rules.command("expire")
@click.argument("name")
@by
@why
@with_settings("home", "redis")
def rules_expire(settings: Settings, **options: Any) -> None:
    """End a rule now: what is live, in shadow or a draft under that name."""
    from headrace.rules import expire_rule

    expire_rule(settings, **options)


@rules.command("history")
@click.argument("name", required=False)
@as_json
@with_settings("home", "redis")
def rules_history(settings: Settings, **options: Any) -> None:
    """Every step that was ever done, or those of one rule or list."""
    from headrace.rules import print_history

    print_history(settings, **options)


@rules.group("lists")
def lists() -> None:
    """Kept lists of values, such as `deny` and `allow`, for rules to ask: card_id in deny."""


@lists.command("show")
@click.argument("name", required=False)
@as_json
@with_settings("home", "redis")
def lists_show(settings: Settings, **options: Any) -> None:
    """What is on the lists, and until when."""
    from headrace.rule_lists import print_lists

    print_lists(settings, **options)


def _values(command: Command) -> Command:
    for argument in (
        click.argument("values", nargs=-1, required=True),
        click.argument("field"),
        click.argument("name"),
    ):
        command = argument(command)
    return command


@lists.command("add")
@_values
@click.option("--for", "lifetime", default="30d", show_default=True, help="how long, such as 12h, or 'ever'")
@by
@why
@with_settings("home", "redis")
def lists_add(settings: Settings, **options: Any) -> None:
    """Put values of a field on a list: headrace rules lists add deny card_id card-7 --for 7d --by ann."""
    from headrace.rule_lists import list_values

    list_values(settings, **options)


@lists.command("remove")
@_values
@by
@why
@with_settings("home", "redis")
def lists_remove(settings: Settings, **options: Any) -> None:
    """Take values off a list."""
    from headrace.rule_lists import unlist_values

    unlist_values(settings, **options)


@rules.group("snooze")
def snooze() -> None:
    """Keep a rule silent for one entity for a while."""


@snooze.command("show")
@as_json
@with_settings("home", "redis")
def snooze_show(settings: Settings, **options: Any) -> None:
    """Which rules are silent for whom, and until when."""
    from headrace.rule_lists import print_snoozes

    print_snoozes(settings, **options)


@snooze.command("add")
@click.argument("name")
@click.argument("field")
@click.argument("value")
@click.option("--for", "lifetime", required=True, help="how long, such as 12h")
@by
@why
@with_settings("home", "redis")
def snooze_add(settings: Settings, **options: Any) -> None:
    """Silence a rule for an entity: headrace rules snooze add card-testing card_id card-7 --for 1d --by ann."""
    from headrace.rule_lists import snooze_rule

    snooze_rule(settings, **options)


@snooze.command("remove")
@click.argument("name")
@click.argument("field")
@click.argument("value")
@by
@why
@with_settings("home", "redis")
def snooze_remove(settings: Settings, **options: Any) -> None:
    """End a snooze."""
    from headrace.rule_lists import wake_rule

    wake_rule(settings, **options)
