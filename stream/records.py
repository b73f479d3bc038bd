"""The records that travel: one tagged struct for each type, decoded strictly at every edge.

The types are the schema. A record that decodes is valid; one that does not raises `InvalidRecord`, which names
the field, the value and the remedy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from stream.invalid_record import InvalidRecord, explain, lenient

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Identifier = Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters")]
Timestamp = Annotated[datetime, Meta(tz=True, description="RFC 3339, with a zone")]
Amount = Annotated[float, Meta(ge=0.0, le=1e12, description="finite, 0 to 1e12")]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300, description="finite")]
Verdict = Literal["fraud", "legit", "unknown"]
Outcome = Literal["approve", "review", "decline"]
PackedVector = list[float | None] | bytes
"""Features as float32 (`stream/packed_vector.py`); in slates of earlier versions a list, null where unknown."""


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
    """What a user did with an item: a click, a purchase, a rating in `value`.

    Who is not signed in has a session only: an action without `user_id` is of the user `session:<session_id>`, in every
    copy of it. `slate_id` names the recommendations that it answers.
    """

    topic: ClassVar[str] = "actions"
    event_timestamp: Timestamp
    action: Annotated[str, Meta(min_length=1, max_length=64)]
    user_id: Identifier = ""
    item_id: Identifier | None = None
    session_id: Annotated[str, Meta(min_length=1, max_length=120, description="1 to 120 characters")] | None = None
    value: Finite | None = None
    slate_id: Identifier | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "user_id", visitor(self.user_id, self.session_id))

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


class Item(_Record, frozen=True, kw_only=True, tag="item"):
    """What the catalogue says of an item from now on: all of it, or that it is `deleted`. `price` has no currency."""

    topic: ClassVar[str] = "items"
    event_timestamp: Timestamp
    item_id: Identifier
    deleted: bool = False
    title: Annotated[str, Meta(max_length=300)] | None = None
    category: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    tags: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=32)] = []
    price: Amount | None = None

    @property
    def key(self) -> str:
        """The primary entity, the item: what is said of one item keeps its order."""
        return self.item_id


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


class Shown(msgspec.Struct, frozen=True):
    """One place of a slate: which item, why, and how likely it was to be there.

    `propensity` is the probability with which this item came to this place: 1 where the ranking put it there, less
    where it was drawn (`explored`). `vector` holds the item's features and what it has to do with the visitor, as
    ranked: `stream/packed_vector.py` reads it.
    """

    item_id: str
    score: float
    source: str
    reason: str
    propensity: float = 1.0
    explored: bool = False
    vector: PackedVector = b""


class Slate(_Record, frozen=True, kw_only=True, tag="slate"):
    """What was recommended, with all that is needed to learn from what the visitor does with it.

    `event_id` is the slate's id; `items` are in the order of their places. The vector that was ranked is `vector`, the
    visitor's features, followed by the item's own; `definition_hash` names both. `versions` says
    which model of each kind answered, `degraded` what was missing; `latency_us` is microseconds by stage.
    """

    topic: ClassVar[str] = "slates"
    event_timestamp: Timestamp
    user_id: str
    session_id: str | None = None
    scenario: str = "default"
    items: list[Shown]
    vector: PackedVector
    definition_hash: str
    versions: dict[str, str] = {}
    degraded: list[str] = []
    latency_us: dict[str, int] = {}

    @property
    def key(self) -> str:
        """The visitor."""
        return self.user_id


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
Record = Transaction | Action | Reading | Item | Label | Decision | Slate | DeadLetter
RECORD_TYPES: dict[str, type[Record]] = {
    cls.topic: cls for cls in (Transaction, Action, Reading, Item, Label, Decision, Slate, DeadLetter)
}
TOPICS = tuple(RECORD_TYPES)
KINDS = tuple(str(cls.__struct_config__.tag) for cls in RECORD_TYPES.values())
"""What a record calls its type."""

R = TypeVar("R")
_encoder = msgspec.json.Encoder()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


SESSION_PREFIX = "session:"


def visitor(user_id: str, session_id: str | None) -> str:
    """Who acts or asks: the user, or where nobody is signed in, the session under a name that no user can have.

    Raises `ValueError` where there is neither, or where a user's id looks like a session's name.
    """
    of_session = "" if session_id is None else SESSION_PREFIX + session_id
    if not user_id and not of_session:
        raise ValueError("`user_id` is required where there is no session_id; send one of both")
    if user_id.startswith(SESSION_PREFIX) and user_id != of_session:
        raise ValueError(f"`user_id` must not begin with {SESSION_PREFIX!r}, which names visitors without a user id")
    return user_id or of_session


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
    stream.invalid_record.InvalidRecord: field 'event_id' has '': expected str of length >= 1
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return _strictly(decoder, payload, kind)  # type: ignore[no-any-return]
    except RecursionError:
        raise InvalidRecord("(body)", payload, "is nested too deeply; send one flat object") from None


def _strictly(decoder: msgspec.json.Decoder[Any], payload: bytes | str, kind: Any) -> Any:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        # A field is found wanting before bytes after it are: what is no UTF-8 is not that field's fault.
        if isinstance(payload, bytes) and not _is_utf8(payload):
            raise InvalidRecord("(body)", payload, "is not UTF-8; send one JSON object, UTF-8") from None
        raise explain(str(error), lenient(payload), _kinds_of(kind), get_args(kind) or (kind,)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord("(body)", payload, f"send one JSON object, UTF-8; {error}") from None


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _kinds_of(kind: Any) -> tuple[str, ...]:
    """What may stand in `type` where this is decoded."""
    return tuple(str(one.__struct_config__.tag) for one in get_args(kind) or (kind,))


def convert(fields: dict[str, Any], kind: type[R]) -> R:
    """A record from Python values (a row of a file), held to the same rules as `decode`."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise explain(str(error), fields, KINDS) from None


def check_time(record: Event | Item | Label | Slate, now: datetime, clock_skew_limit: timedelta) -> None:
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
