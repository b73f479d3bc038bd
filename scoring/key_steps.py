"""The steps of the keys' history: each one thing that somebody did, when, and why. No step holds a secret.

What the steps come to is the table of keys: so there is no key, and no end of one, that the history does not tell of.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from scoring.key import Digest, KeyId
from scoring.key_scopes import check_scope
from scoring.rule_steps import InvalidStep, Person
from stream.records import Timestamp

RATE_LIMIT = 1_000_000
KeyName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^\S(.*\S)?\Z")]
Scopes = Annotated[tuple[Annotated[str, Meta(max_length=80)], ...], Meta(min_length=1, max_length=32)]


class _Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """What every step has."""

    at: Timestamp
    by: Person
    why: Annotated[str, Meta(max_length=500)] = ""
    key: KeyId


class Created(_Step, frozen=True, kw_only=True, tag="create"):
    """A key was made. `rate_per_s` requests a second with `burst` at once, bodies of `body_limit` bytes; None: any."""

    name: KeyName
    owner: Annotated[str, Meta(max_length=64)] = ""
    digest: Digest
    scopes: Scopes
    rate_per_s: Annotated[float, Meta(gt=0, le=RATE_LIMIT)] | None = None
    burst: Annotated[int, Meta(ge=1, le=RATE_LIMIT)] | None = None
    body_limit: Annotated[int, Meta(ge=1)] | None = None
    expires_at: Timestamp | None = None


class Rotated(_Step, frozen=True, kw_only=True, tag="rotate"):
    """A key has a new secret. The one before it is taken until `old_until`; one still older no longer."""

    digest: Digest
    old_until: Timestamp


class Revoked(_Step, frozen=True, kw_only=True, tag="revoke"):
    """A key has ended, with all its secrets and for ever."""


KeyStep = Created | Rotated | Revoked

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[KeyStep] = msgspec.json.Decoder(KeyStep)


def encode_key_step(step: KeyStep) -> bytes:
    """The step as JSON. Raises `InvalidStep` or `InvalidScope` where a field has what it may not have."""
    for said in (step.by, step.why, *((step.name, step.owner) if isinstance(step, Created) else ())):
        if said and not said.isprintable():
            raise InvalidStep(f"{said!r} is not one line of printable characters")
    if isinstance(step, Created):
        for scope in step.scopes:
            check_scope(scope)
        _check_rate(step)
    content = _encoder.encode(step)
    decode_key_step(content)
    return content


def decode_key_step(content: bytes) -> KeyStep:
    """A step from its JSON. Raises `InvalidStep`."""
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidStep(f"not a step of the keys' history: {error}") from None


def _check_rate(step: Created) -> None:
    if (step.rate_per_s is None) != (step.burst is None):
        raise InvalidStep("a rate needs a burst, and a burst a rate")
    if step.rate_per_s is not None and step.burst is not None and step.burst < step.rate_per_s:
        raise InvalidStep(
            f"a burst of {step.burst} is less than one second of {step.rate_per_s:g} requests/s; give at least that"
        )
