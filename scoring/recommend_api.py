"""The HTTP API of recommending: what each route takes, gives and refuses, apart from how it is served."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from features.declared import pending
from scoring.api import Answer, invalid, refusal, refused
from scoring.catalogue import Catalogue, ItemConflict, event_id_of
from scoring.listing import Listed, UnknownItem, similar, trending
from scoring.observed_recommending import ObservedSlates
from scoring.recommend_bodies import (
    FeedbackRequest,
    ItemBody,
    ItemSaid,
    ItemsSaid,
    ListQuery,
    NamedItemBody,
    RankedItems,
    Recommendations,
    Recommended,
    RecommendRequest,
    RefusedItem,
)
from scoring.recommending import Recommending
from stream.card_guard import REFUSING, CardGuard
from stream.invalid_record import InvalidRecord
from stream.records import Action, Item, Shown, Slate, check_time, decode, encode

TOGETHER = 50
"""Items of one round trip: some milliseconds in which no other request is answered."""
ID_LIMIT = 128
FEEDBACK_DIGEST_BYTES = 12


class RecommendApi:
    """The routes of recommending. Never raises: every failure is an answer that says what to do."""

    def __init__(
        self,
        recommending: Recommending,
        catalogue: Catalogue,
        clock_skew_ms: int,
        deadline_ms: float,
        cards: CardGuard = REFUSING,
    ) -> None:
        self.recommending = recommending
        self.catalogue = catalogue
        self.cards = cards
        self.clock_skew = timedelta(milliseconds=clock_skew_ms)
        self.deadline_ms = deadline_ms
        self.observed = ObservedSlates()

    def recommend(self, body: bytes, deadline_ms: float) -> Answer:
        """POST /recommend."""

        def answer() -> Answer:
            request: RecommendRequest = decode(self.cards.clean(body), RecommendRequest)
            began_s = time.perf_counter()
            slate = self.recommending.recommend(request, deadline_ms)
            answered = Answer(200, msgspec.json.encode(self._recommendations(slate)))
            self.observed.slate(slate, time.perf_counter() - began_s)
            return answered

        return _answered(answer)

    def similar(self, item_id: str, query: bytes, deadline_ms: float) -> Answer:
        """GET /similar/{item_id}."""

        def answer() -> Answer:
            asked = self._query(query, {"k"})
            return self._listed(similar(self.recommending, self._id(item_id), asked.k, deadline_ms))

        return _answered(answer)

    def trending(self, query: bytes, deadline_ms: float) -> Answer:
        """GET /trending."""

        def answer() -> Answer:
            asked = self._query(query, {"k", "category"})
            return self._listed(trending(self.recommending, asked.category, asked.k, deadline_ms))

        return _answered(answer)

    def feedback(self, body: bytes, deadline_ms: float) -> Answer:
        """POST /feedback: an action of the slate's visitor. The same feedback again is one action."""

        def answer() -> Answer:
            told: FeedbackRequest = decode(self.cards.clean(body), FeedbackRequest)
            slate = self.recommending.log.find(told.slate_id, deadline_ms)
            if slate is None:
                message = f"no slate {told.slate_id!r} is kept; send the action to /events instead"
                return refusal(404, "unknown slate", message)
            if told.item_id not in slate.items:
                raise InvalidRecord("item_id", told.item_id, "is not in that slate; send one of its items")
            is_of_session = slate.session_id is not None and slate.user_id == f"session:{slate.session_id}"
            action = Action(
                event_id=feedback_id(told),
                event_timestamp=self.recommending.clock(),
                action=told.action,
                user_id="" if is_of_session else slate.user_id,
                session_id=slate.session_id,
                item_id=told.item_id,
                value=told.value,
                slate_id=told.slate_id,
            )
            # What is kept under this id can only be this feedback, as it came first.
            earlier = self.catalogue.ledger.commit(action, pending(action), timeout_ms=deadline_ms)
            is_new = isinstance(earlier, int)
            if is_new:
                self.observed.feedback(told.action)
            status = "accepted" if is_new else "repeated"
            return Answer(202, msgspec.json.encode({"event_id": action.event_id, "status": status}))

        return _answered(answer)

    def put_item(self, item_id: str, body: bytes, deadline_ms: float) -> Answer:
        """PUT /items/{item_id}."""

        def answer() -> Answer:
            said: ItemBody = decode(self.cards.clean(body), ItemBody)
            return self._said(self._item(self._id(item_id), said), deadline_ms)

        return _answered(answer)

    def delete_item(self, item_id: str, deadline_ms: float) -> Answer:
        """DELETE /items/{item_id}: when this is answered, the item is in no slate from now on."""

        def answer() -> Answer:
            return self._said(self._item(self._id(item_id), ItemBody(), deleted=True), deadline_ms)

        return _answered(answer)

    def item(self, item_id: str, deadline_ms: float) -> Answer:
        """GET /items/{item_id}."""

        def answer() -> Answer:
            found = self.catalogue.find(self._id(item_id), deadline_ms)
            if found is None:
                return refusal(404, "unknown item", f"the catalogue has no item {item_id!r}")
            return Answer(200, encode(found))

        return _answered(answer)

    def put_items(self, bodies: Sequence[bytes], first: int, deadline_ms: float) -> ItemsSaid:
        """POST /items: some of many items, the first of which has the place `first`. Those refused stand for nobody."""
        items: list[Item] = []
        places: list[int] = []
        refusals: list[RefusedItem] = []
        for place, body in enumerate(bodies, first):
            try:
                said: NamedItemBody = decode(self.cards.clean(body), NamedItemBody)
                items.append(self._item(said.item_id, said))
                places.append(place)
            except InvalidRecord as error:
                refusals.append(_refused_item(place, invalid(error)))
        counts = {"accepted": 0, "repeated": 0}
        try:
            answers = self.catalogue.put(items, deadline_ms)
        except Exception as error:  # whatever it is, `refused` says it to the sender
            answers = [error] * len(items)
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, str):
                counts[answer] += 1
            else:
                refusals.append(_refused_item(place, _refusal_of(answer)))
        return ItemsSaid(counts["accepted"], counts["repeated"], sorted(refusals, key=lambda one: one.place))

    def ready(self) -> list[str]:
        """What keeps it from being ready: a service without any items is."""
        return [] if self.recommending.feed.state is not None else ["the state of recommending is not loaded yet"]

    def _recommendations(self, slate: Slate) -> Recommendations:
        items = [self._recommended(one) for one in slate.items]
        return Recommendations(slate.event_id, slate.user_id, items, slate.versions, slate.degraded, slate.latency_us)

    def _recommended(self, one: Shown) -> Recommended:
        title = self.recommending.feed.title_of(one.item_id)
        return Recommended(one.item_id, title, one.score, one.source, one.reason, one.propensity, one.explored)

    def _listed(self, listed: Listed) -> Answer:
        items = [self._recommended(one) for one in listed.items]
        return Answer(200, msgspec.json.encode(RankedItems(items, listed.degraded)))

    def _item(self, item_id: str, said: ItemBody, deleted: bool = False) -> Item:
        item = Item(
            event_id=said.event_id or "(none)",
            event_timestamp=said.event_timestamp or datetime.now(UTC),
            item_id=item_id,
            deleted=deleted,
            title=said.title,
            category=said.category,
            tags=said.tags,
            price=said.price,
        )
        check_time(item, datetime.now(UTC), self.clock_skew)
        return item if said.event_id else msgspec.structs.replace(item, event_id=event_id_of(item))

    def _said(self, item: Item, deadline_ms: float) -> Answer:
        answer = self.catalogue.put([item], deadline_ms)[0]
        if not isinstance(answer, str):
            raise answer
        return Answer(202, msgspec.json.encode(ItemSaid(item.item_id, answer)))

    def _id(self, item_id: str) -> str:
        if not 0 < len(item_id) <= ID_LIMIT:
            raise InvalidRecord("item_id", item_id, f"expected 1 to {ID_LIMIT} characters")
        return self.cards.text(item_id, "item_id")

    def _query(self, query: bytes, allowed: set[str]) -> ListQuery:
        """What a query string asks for, held to the same rules as a body."""
        given: dict[str, Any] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name not in allowed:
                raise InvalidRecord(
                    name, value, f"this parameter is not known; there is {' and '.join(sorted(allowed))}"
                )
            is_number = name == "k" and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()
            given[name] = int(value[:20]) if is_number else value
        return decode(self.cards.clean(msgspec.json.encode(given)), ListQuery)


def feedback_id(told: FeedbackRequest) -> str:
    """The event id of feedback: the same for the same action on the same item of a slate, with the same value."""
    meaning = msgspec.json.encode((told.slate_id, told.item_id, told.action, told.value))
    return f"feedback-{blake2b(meaning, digest_size=FEEDBACK_DIGEST_BYTES).hexdigest()}"


def _answered(answer: Callable[[], Answer]) -> Answer:
    try:
        return answer()
    except Exception as error:  # one that nobody foresaw is logged, and answered as such
        return _refusal_of(error)


def _refusal_of(error: Exception) -> Answer:
    match error:
        case UnknownItem():
            return refusal(404, "unknown item", str(error))
        case ItemConflict():
            return refusal(409, "conflict", str(error), field="event_id", remedy="use an id for one event only")
        case _:
            return refused(error)


def _refused_item(place: int, answer: Answer) -> RefusedItem:
    return RefusedItem(place, answer.status, msgspec.Raw(answer.body))


def whole_of(parts: Sequence[ItemsSaid]) -> ItemsSaid:
    """What became of all items, from what became of some after some."""
    refused_items = [one for part in parts for one in part.refused]
    return ItemsSaid(sum(part.accepted for part in parts), sum(part.repeated for part in parts), refused_items)
