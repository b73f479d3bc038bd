"""The bodies of recommending over HTTP: what is asked, and what is answered. The structs are the schema."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.slate import K_LIMIT
from stream.records import Amount, Finite, Identifier, Timestamp, visitor

EXCLUDE_LIMIT = 1000
K = Annotated[int, Meta(ge=1, le=K_LIMIT, description=f"1 to {K_LIMIT}")]
SessionId = Annotated[str, Meta(min_length=1, max_length=120, description="1 to 120 characters")]
Word = Annotated[str, Meta(min_length=1, max_length=64)]


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the visitor is: the item that is looked at now, and the one category that answers are to come from."""

    item_id: Identifier | None = None
    category: Word | None = None


class RecommendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks for recommendations: a user, or who is not signed in by the session. `k` is how many are wanted."""

    user_id: Identifier = ""
    session_id: SessionId | None = None
    k: K | None = None
    context: Context = Context()
    exclude: Annotated[list[Identifier], Meta(max_length=EXCLUDE_LIMIT)] = []
    scenario: Word = "default"

    def __post_init__(self) -> None:
        visitor(self.user_id, self.session_id)


class Recommended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recommended item, and why. `propensity` is the probability with which it came to its place."""

    item_id: str
    title: str | None
    score: float
    source: str
    reason: str
    propensity: float = 1.0
    explored: bool = False


class Recommendations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A slate as it is answered: its places in order. `degraded` names what was missing."""

    slate_id: str
    user_id: str
    items: list[Recommended]
    versions: dict[str, str]
    degraded: list[str]
    latency_us: dict[str, int]


class RankedItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Items that are like one, or that are popular, best first. `degraded` names what was missing."""

    items: list[Recommended]
    degraded: list[str]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a list: how many, and of which category."""

    k: K = 10
    category: Word | None = None


class FeedbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the visitor did with an item of a slate. The same again is one action."""

    slate_id: Identifier
    item_id: Identifier
    action: Word
    value: Finite | None = None


class ItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the catalogue is to say of the item named in the path, from now on: all of it."""

    title: Annotated[str, Meta(max_length=300)] | None = None
    category: Word | None = None
    tags: Annotated[list[Word], Meta(max_length=32)] = []
    price: Amount | None = None
    event_id: Identifier | None = None
    event_timestamp: Timestamp | None = None


class NamedItemBody(ItemBody, frozen=True, kw_only=True):
    """As `ItemBody`, of the item that it names itself."""

    item_id: Identifier


class ItemSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was said of an item is durable, and true from now on; `repeated` where it was so before."""

    item_id: str
    status: Literal["accepted", "repeated"]


class RefusedItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item of many that was not taken: its place among them, from 0 on, and why."""

    place: int
    status: int
    refusal: msgspec.Raw


class ItemsSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of many items: how many were taken, how many were known as they are, and which were refused."""

    accepted: int
    repeated: int
    refused: list[RefusedItem]
