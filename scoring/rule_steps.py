"""The steps of a rule book: each one thing that somebody did, when, and why. A step is never changed or taken back.

A rule's life is draft -> backtest -> shadow -> approve (by another person: then it is live) -> expire.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from scoring.rule_report import RuleReport
from scoring.rules import LIST_NAME, Rule, RuleName
from stream.records import Identifier, Timestamp

VALUES_LIMIT = 1000
Person = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^\S(.*\S)?\Z")]
ListName = Annotated[str, Meta(pattern=LIST_NAME, description="1 to 64 small letters, digits, _")]
FieldName = Annotated[str, Meta(min_length=1, max_length=64)]
Revision = Annotated[int, Meta(ge=1)]


class _Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """What every step has."""

    at: Timestamp
    by: Person
    why: Annotated[str, Meta(max_length=500)] = ""


class Drafted(_Step, frozen=True, kw_only=True, tag="draft"):
    """A rule was written, or written anew: the revision after the newest of that name. A live one stays live."""

    rule: Rule
    revision: Revision

    @property
    def name(self) -> str:
        """The rule's."""
        return self.rule.name


class _OfRevision(_Step, frozen=True, kw_only=True):
    """A step of one revision: of another than the person saw, it is refused."""

    name: RuleName
    revision: Revision


class Backtested(_OfRevision, frozen=True, kw_only=True, tag="backtest"):
    """A rule was tried on the archive."""

    report: RuleReport


class Shadowed(_OfRevision, frozen=True, kw_only=True, tag="shadow"):
    """From now on every scorer asks it and notes what it would do."""


class Approved(_OfRevision, frozen=True, kw_only=True, tag="approve"):
    """Somebody else than its author made it live, until `expires_at` or for ever."""

    expires_at: Timestamp | None


class Expired(_Step, frozen=True, kw_only=True, tag="expire"):
    """A rule ended before its time: whatever of that name is live, in shadow or a draft."""

    name: RuleName


class Listed(_Step, frozen=True, kw_only=True, tag="list", omit_defaults=True):
    """Values of a field were put on a list, until `until` or for ever. Again replaces the time.

    Where it `waits`, they are once another person agrees.
    """

    list: ListName
    field: FieldName
    values: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=VALUES_LIMIT)]
    until: Timestamp | None
    waits: bool = False


class Unlisted(_Step, frozen=True, kw_only=True, tag="unlist", omit_defaults=True):
    """Values were taken off a list; where it `waits`, they are once another person agrees."""

    list: ListName
    field: FieldName
    values: Annotated[tuple[Identifier, ...], Meta(min_length=1, max_length=VALUES_LIMIT)]
    waits: bool = False


class Answered(_Step, frozen=True, kw_only=True, tag="answer"):
    """Somebody else agreed to a change of a list that waits, the step `version`; or it was refused or withdrawn."""

    list: ListName
    version: Revision
    agreed: bool


class Snoozed(_Step, frozen=True, kw_only=True, tag="snooze"):
    """A rule is silent for one value of a field, until `until`."""

    name: RuleName
    field: FieldName
    value: Identifier
    until: Timestamp


class Woken(_Step, frozen=True, kw_only=True, tag="wake"):
    """A snooze ended before its time."""

    name: RuleName
    field: FieldName
    value: Identifier


RuleStep = Drafted | Backtested | Shadowed | Approved | Expired
ListStep = Listed | Unlisted | Answered
SnoozeStep = Snoozed | Woken
Step = RuleStep | ListStep | SnoozeStep

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Step] = msgspec.json.Decoder(Step)


class InvalidStep(ValueError):
    """A step is not one: a field has a value that it cannot have, or the bytes are no step. A retry cannot help."""


def encode_step(step: Step) -> bytes:
    """The step as JSON. Raises `InvalidStep` where a field has what it may not have: constructing checks nothing."""
    for said in (step.by, step.why):
        if not said.isprintable():
            raise InvalidStep(f"{said!r} is not one line of printable characters")
    content = _encoder.encode(step)
    decode_step(content)
    return content


def decode_step(content: bytes) -> Step:
    """A step from its JSON. Raises `InvalidStep`."""
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidStep(f"not a step of a rule book: {error}") from None


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, however they are written.

    >>> same_person("Ann ", "ann"), same_person("Ann", "Bob")
    (True, False)
    """
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def seconds(moment: datetime | None) -> float:
    """Seconds since 1970; infinity for None, which means for ever."""
    return float("inf") if moment is None else moment.timestamp()
