"""What the `keys` commands do: steps of the keys' history."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from features.duration import duration_us
from headrace.client_key import key_of
from headrace.rule_tables import print_json, print_tables, shown, table_of
from headrace.rules import until_of
from headrace.running import none_named
from headrace.settings import Settings
from scoring.key import NewKey, new_key
from scoring.key_book import Kept
from scoring.key_log import KeyLog
from scoring.key_steps import RATE_LIMIT, Created, KeyStep, Revoked, Rotated
from stream.connection import RedisConnection, RedisError

LEAST_BURST = 10
TAKEN_WITHIN_S = 1.0
"""After a step, until every service that reaches Redis obeys it."""
HEADINGS = ("key", "name", "owner", "scopes", "requests/s", "body limit", "made", "by", "until")
STEP_HEADINGS = ("version", "at", "by", "step", "key", "what", "why")


@contextmanager
def open_key_log(settings: Settings) -> Iterator[KeyLog]:
    """The keys as they are now."""
    if not settings.redis:
        raise click.ClickException(none_named(settings, "the keys are in Redis"))
    with closing(RedisConnection(settings.redis)) as connection:
        log = KeyLog(connection)
        try:
            log.read()
            yield log
        except RedisError as error:
            raise click.ClickException(f"Redis says {error}") from error


def create_key(
    settings: Settings,
    name: str,
    owner: str,
    scopes: tuple[str, ...],
    rate: float | None,
    burst: int | None,
    body_limit: int | None,
    expires: str,
    by: str,
    why: str,
) -> None:
    """Append a key; its text on standard output, once."""
    now = datetime.now(UTC)
    if rate is not None and not 0 < rate <= RATE_LIMIT:
        raise ValueError(f"--rate {rate:g} is not above 0 and at most {RATE_LIMIT:,}; leave it out for any rate")
    if rate is not None and burst is None:
        burst = max(LEAST_BURST, math.ceil(rate))
    made = new_key()
    step = Created(
        at=now,
        by=by,
        why=why,
        key=made.id,
        name=name,
        owner=owner,
        digest=made.digest,
        scopes=scopes,
        rate_per_s=rate,
        burst=burst,
        body_limit=body_limit,
        expires_at=until_of(expires, now),
    )
    with open_key_log(settings) as log:
        log.append(step)
    _show(made, f"key {made.id} ({name}) is made; this is the only time that it is shown")


def rotate_key(settings: Settings, key_id: str, grace: str, by: str, why: str) -> None:
    """Append a new secret; the key's text on standard output, once."""
    now = datetime.now(UTC)
    made = new_key(key_id)
    old_until = now + timedelta(microseconds=duration_us(grace))
    step = Rotated(at=now, by=by, why=why, key=key_id, digest=made.digest, old_until=old_until)
    with open_key_log(settings) as log:
        log.append(step)
    _show(made, f"key {key_id} has a new secret, shown this once; the old one is taken until {_time(old_until)}")


def revoke_key(settings: Settings, key_id: str, by: str, why: str) -> None:
    """Append that a key has ended."""
    with open_key_log(settings) as log:
        log.append(Revoked(at=datetime.now(UTC), by=by, why=why, key=key_id))
    click.echo(f"key {key_id} is revoked: every service that reaches Redis refuses it within a second")


def print_keys(settings: Settings, as_json: bool) -> None:
    """The keys, without anything that is secret."""
    now = datetime.now(UTC)
    with open_key_log(settings) as log:
        kept = list(log.book.keys.values())
    if as_json:
        print_json([_public(one.made) | {"old_secret_until": one.old_until} for one in kept])
        return
    table = table_of("keys", HEADINGS)
    for one in kept:
        table.add_row(*map(shown, _row(one, now)))
    print_tables(table)


def print_key_history(settings: Settings, key_id: str | None, as_json: bool) -> None:
    """Every step, or those of one key, without anything that is secret."""
    with open_key_log(settings) as log:
        steps, refused = list(log.steps()), log.problems
    wanted = [(version, step) for version, step in steps if step is None or key_id in (None, step.key)]
    if as_json:
        print_json(
            [{"version": version, "step": _public(step), "refused": refused.get(version)} for version, step in wanted]
        )
        return
    table = table_of("the keys, every step", STEP_HEADINGS)
    for version, step in wanted:
        table.add_row(*map(shown, _step_row(version, step, refused.get(version))))
    print_tables(table)


@contextmanager
def passing_key(settings: Settings, name: str, scopes: tuple[str, ...]) -> Iterator[str | None]:
    """A key for as long as the context lasts, then revoked; none where none is asked for, or the environment has one.

    It ends after a day by itself, should this one not come to revoke it.
    """
    if settings.auth == "off" or key_of(None) is not None:
        yield None
        return
    now = datetime.now(UTC)
    made = new_key()
    why = "for as long as it runs"
    step = Created(at=now, by=name, why=why, key=made.id, name=name, digest=made.digest, scopes=scopes)
    with open_key_log(settings) as log:
        log.append(msgspec.structs.replace(step, expires_at=now + timedelta(days=1)))
        try:
            time.sleep(TAKEN_WITHIN_S)
            yield made.text
        finally:
            log.append(Revoked(at=datetime.now(UTC), by=name, why="it has ended", key=made.id))


def _show(made: NewKey, words: str) -> None:
    click.echo(words, err=True)
    click.echo(made.text)


def _public(step: KeyStep | None) -> dict[str, Any]:
    """A step without its digest: nobody needs it, and what nobody sees nobody compares."""
    facts: dict[str, Any] = {} if step is None else msgspec.to_builtins(step)
    facts.pop("digest", None)
    return facts


def _row(one: Kept, now: datetime) -> tuple[str, ...]:
    made = one.made
    until = "ever" if made.expires_at is None else _time(made.expires_at)
    if made.expires_at is not None and made.expires_at <= now:
        until = f"expired {until}"
    if one.old_until is not None and one.old_until > now:
        until += f"; old secret until {_time(one.old_until)}"
    rate = "any" if made.rate_per_s is None else f"{made.rate_per_s:g}, {made.burst} at once"
    limit = "" if made.body_limit is None else f"{made.body_limit:,}"
    return (made.key, made.name, made.owner, ", ".join(made.scopes), rate, limit, _time(made.at), made.by, until)


def _step_row(version: int, step: KeyStep | None, refused: str | None) -> tuple[str, ...]:
    if step is None:
        return (str(version), "", "", "unknown to this release")
    kind = str(step.__struct_config__.tag)
    what = _what(step) if refused is None else f"not followed: {refused}"
    return (str(version), f"{step.at:%Y-%m-%d %H:%M:%S}", step.by, kind, step.key, what, step.why)


def _what(step: KeyStep) -> str:
    match step:
        case Created():
            rate = "" if step.rate_per_s is None else f", {step.rate_per_s:g}/s"
            return f"{step.name}: {', '.join(step.scopes)}{rate}"
        case Rotated(old_until=old_until):
            return f"old secret until {_time(old_until)}"
        case Revoked():
            return ""


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
