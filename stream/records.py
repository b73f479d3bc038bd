"""The records that travel: one tagged struct for each type, decoded strictly at every edge.

The types are the schema. A record that decodes is valid; one that does not raises `InvalidRecord`, which names
the field, the value and the remedy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from stream.card_numbers import mask

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Identifier = Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters")]
Timestamp = Annotated[datetime, Meta(tz=True, description="RFC 3339, with a zone")]
Amount = Annotated[float, Meta(ge=0.0, le=1e12, description="finite, 0 to 1e12")]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300, description="finite")]
Verdict = Literal["fraud", "legit", "unknown"]
Outcome = Literal["approve", "review", "decline"]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every record has: an id that names the event, and the time at which it happened."""

    topic: ClassVar[str]
    event_id: Identifier

    @property
    def identity(self) -> str:
        """What makes two copies of this record one: duplicates share it."""
        return self.event_id


class Transaction(_Record, frozen=True, kw_only=True, tag="transaction"):
    """One payment, as a payment system asks to have it scored. `amount` is in units of `currency`."""

    topic: ClassVar[str] = "transactions"
    event_timestamp: Timestamp
    card_id: Identifier
    merchant_id: Identifier
    amount: Amount
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217, three capitals")] = "EUR"
    customer_id: Identifier | None = None
    device_id: Identifier | None = None
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)] | None = None
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)] | None = None

    @property
    def key(self) -> str:
        """The primary entity: records of one card share a partition and keep their order."""
        return self.card_id


class Action(_Record, frozen=True, kw_only=True, tag="action"):
    """What a user did with an item: a click, a purchase, a rating in `value`."""

    topic: ClassVar[str] = "actions"
    event_timestamp: Timestamp
    user_id: Identifier
    action: Annotated[str, Meta(min_length=1, max_length=64)]
    item_id: Identifier | None = None
    session_id: Identifier | None = None
    value: Finite | None = None

    @property
    def key(self) -> str:
        """The primary entity, the user."""
        return self.user_id


class Reading(_Record, frozen=True, kw_only=True, tag="reading"):
    """One measurement of one metric of a device."""

    topic: ClassVar[str] = "readings"
    event_timestamp: Timestamp
    device_id: Identifier
    metric: Annotated[str, Meta(min_length=1, max_length=64)]
    value: Finite

    @property
    def key(self) -> str:
        """The primary entity, the device."""
        return self.device_id


class Label(_Record, frozen=True, kw_only=True, tag="label"):
    """What an event turned out to be, and when that became known.

    `event_timestamp` is the time of the labelled event, `labelled_at` the time the label arrived. The ids say whose
    event it was; the service fills what the sender left out from the decision. A later label of the same event and
    another verdict reverses the earlier one.
    """

    topic: ClassVar[str] = "labels"
    label: Verdict
    labelled_at: Timestamp
    source: Annotated[str, Meta(min_length=1, max_length=64)] = "feed"
    event_timestamp: Timestamp | None = None
    card_id: Identifier | None = None
    merchant_id: Identifier | None = None
    device_id: Identifier | None = None
    amount: Amount | None = None

    @property
    def key(self) -> str:
        """One for all labels: they travel in one partition, so that everybody learns them in one order."""
        return "labels"

    @property
    def identity(self) -> str:
        """The verdict, not the event: a reversal is another record."""
        return f"{self.event_id}|{self.label}|{self.source}|{micros(self.labelled_at)}"


class MemberScore(msgspec.Struct, frozen=True):
    """What one model said: a probability in [0, 1], and which version said it."""

    version: str
    score: float


class Reason(msgspec.Struct, frozen=True):
    """Why, in words, with the value and what is usual for this entity (None where nothing is known)."""

    feature: str
    text: str
    value: float | None
    usual: float | None


class Decision(_Record, frozen=True, kw_only=True, tag="decision"):
    """The answer to one event, with all that is needed to explain it, to label it and to learn from it.

    `score` is a calibrated probability in [0, 1]; `vector` holds the features as scored, in the order of the
    definition named by `definition_hash` (null where unknown); `propensity` is the probability with which the policy
    chose this outcome; `degraded` lists what was missing; `approximate` lists the features that were not exact;
    `latency_us` is microseconds by stage.

    `segment` names whose numbers the policy used, `expected_cost` what each outcome was expected to cost by them, in
    the policy's currency and without the price of analysts' time. `review_free` is what the budget of analysts' time
    said when it was asked for a review, `draw_free` what that of let-throughs did (None: it was not asked): with these
    two the outcome can be recomputed.

    `rules` fired, `snoozed_rules` would have but for a snooze, `shadow_rules` would have if they were live; `tags` is
    what rules attached, `score_added` what they added to the score (it is in `score`; the models' own is the
    difference), `rules_version` which version of the rule book said so.
    """

    topic: ClassVar[str] = "decisions"
    event_timestamp: Timestamp
    scored_at: Timestamp
    use_case: str
    outcome: Outcome
    score: float
    scores: dict[str, MemberScore]
    vector: list[float | None]
    definition_hash: str
    policy_version: str
    record: Transaction
    propensity: float = 1.0
    rules: list[str] = []
    reasons: list[Reason] = []
    degraded: list[str] = []
    approximate: list[str] = []
    latency_us: dict[str, int] = {}
    tags: list[str] = []
    score_added: float = 0.0
    shadow_rules: list[str] = []
    snoozed_rules: list[str] = []
    rules_version: int = 0
    segment: str = "default"
    expected_cost: dict[str, float] = {}
    review_free: bool | None = None
    draw_free: bool | None = None

    @property
    def key(self) -> str:
        """The key of the record it answers."""
        return self.record.key


class DeadLetter(_Record, frozen=True, kw_only=True, tag="dead_letter"):
    """A message that could not be used: where it came from, why, and its bytes."""

    topic: ClassVar[str] = "dead-letters"
    from_topic: str
    partition: int
    offset: int
    reason: str
    payload: bytes

    @property
    def key(self) -> str:
        """The place it came from."""
        return f"{self.from_topic}/{self.partition}"


Event = Transaction | Action | Reading
Record = Transaction | Action | Reading | Label | Decision | DeadLetter
RECORD_TYPES: dict[str, type[Record]] = {
    cls.topic: cls for cls in (Transaction, Action, Reading, Label, Decision, DeadLetter)
}
TOPICS = tuple(RECORD_TYPES)

R = TypeVar("R")
_encoder = msgspec.json.Encoder()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class InvalidRecord(ValueError):
    """A record was refused. A retry with the same bytes cannot help. What it quotes has no card number."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = mask(field)
        self.value = _shorten(value)
        self.remedy = mask(remedy)
        super().__init__(f"field {self.field!r} has {self.value}: {self.remedy}")


def micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exact."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(at_us: int) -> datetime:
    """The UTC time of so many microseconds since 1970, exact."""
    return EPOCH + timedelta(microseconds=at_us)


def encode(record: Record) -> bytes:
    """The record as JSON, the form it has on every topic."""
    return _encoder.encode(record)


def decode(payload: bytes | str, kind: type[R] | Any = Record) -> R:
    """Decode one record of a type (or of any type), strictly.

    Raises `InvalidRecord` with the field, the value it has and the remedy.

    >>> decode(b'{"type": "transaction", "event_id": ""}')
    Traceback (most recent call last):
    ...
    stream.records.InvalidRecord: field 'event_id' has '': expected str of length >= 1
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return _strictly(decoder, payload)  # type: ignore[no-any-return]
    except RecursionError:
        raise InvalidRecord("(body)", payload, "is nested too deeply; send one flat object") from None


def _strictly(decoder: msgspec.json.Decoder[Any], payload: bytes | str) -> Any:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise _explain(str(error), _lenient(payload)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord("(body)", payload, f"send one JSON object, UTF-8; {error}") from None


def convert(fields: dict[str, Any], kind: type[R]) -> R:
    """A record from Python values (a row of a file), held to the same rules as `decode`."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error), fields) from None


def check_time(record: Event | Label, now: datetime, clock_skew_limit: timedelta) -> None:
    """Refuse an event from the future; a clock may be off by `clock_skew_limit`. Raises `InvalidRecord`."""
    name = "labelled_at" if isinstance(record, Label) else "event_timestamp"
    moment = record.labelled_at if isinstance(record, Label) else record.event_timestamp
    if moment > now + clock_skew_limit:
        limit_s = clock_skew_limit.total_seconds()
        raise InvalidRecord(
            name,
            moment.isoformat(),
            f"lies in the future by more than {limit_s:g} s; set the sender's clock, or send the time in UTC",
        )


def _explain(message: str, content: object) -> InvalidRecord:
    text, _, path = message.partition(" - at `$")
    path = path.removesuffix("`").lstrip(".")
    if path:
        return InvalidRecord(path, _value_at(content, path), _remedy(path, text))
    if "unknown field `" in text:
        name = text.split("`")[-2]
        return InvalidRecord(name, _value_at(content, name), "this field is not part of the record; leave it out")
    if "missing required field `" in text:
        name = text.split("`")[-2]
        return InvalidRecord(name, "(missing)", "this field is required; send it")
    if text.startswith("`"):
        name = text.split("`")[1]
        return InvalidRecord(name, _value_at(content, name), text.split("` ", 1)[-1])
    return InvalidRecord("(body)", content, text)


def _remedy(field: str, text: str) -> str:
    if field == "type":
        kinds = ", ".join(str(cls.__struct_config__.tag) for cls in RECORD_TYPES.values())
        return f"send one of {kinds}"
    if "datetime" in text:
        return "send an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"
    if "out of range" in text:
        return "send a finite number"
    return text[0].lower() + text[1:].replace("`", "")


def _lenient(payload: bytes | str) -> object:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload


def _value_at(content: object, path: str) -> object:
    for part in path.replace("[", ".[").split("."):
        if isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return "(missing)" if isinstance(content, dict) else content
    return content


def _shorten(value: object, limit: int = 80) -> str:
    # Masked before it is cut: half a card number would not be known for one.
    text = "(missing)" if value == "(missing)" else mask(repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"
