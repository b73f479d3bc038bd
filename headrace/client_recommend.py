"""The calls of recommending, for both clients: what is sent where, and what the answers are.

All may be sent again: feedback and words about an item count once, and a slate that was lost on the way is one that
nobody has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from headrace.client_call import AcceptedBody, Call, Refused, read
from stream.records import Item as ServedItem


class Recommended(msgspec.Struct, frozen=True):
    """One recommended item, and why. `propensity` is the probability with which it came to its place."""

    item_id: str
    score: float
    source: str
    reason: str
    title: str | None = None
    propensity: float = 1.0
    explored: bool = False


class Recommendations(msgspec.Struct, frozen=True):
    """A slate: its places in order. `degraded` names what was missing."""

    slate_id: str
    user_id: str
    items: list[Recommended]
    versions: dict[str, str] = {}
    degraded: list[str] = []
    latency_us: dict[str, int] = {}


class RankedItems(msgspec.Struct, frozen=True):
    """Items that are like one, or that are popular, best first."""

    items: list[Recommended]


class CataloguedItem(ServedItem, frozen=True, kw_only=True, tag="item", forbid_unknown_fields=False):
    """What the catalogue says of an item. A newer service may know more fields."""


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    body: bytes | None = None


def recommend(user_id: str | None, session_id: str | None, k: int, **more: Any) -> Asked:
    """POST /recommend; `more` are `context`, `exclude` and `scenario`, where they are not None."""
    named = {"user_id": user_id, "session_id": session_id, "k": k, **more}
    return Asked("POST", "/recommend", msgspec.json.encode(_given(named)))


def similar(item_id: str, k: int) -> Asked:
    """GET /similar/{item_id}."""
    return Asked("GET", f"/similar/{quote(item_id, safe='')}?{urlencode({'k': k})}")


def trending(k: int, category: str | None) -> Asked:
    """GET /trending."""
    return Asked("GET", f"/trending?{urlencode(_given({'k': k, 'category': category}))}")


def feedback(slate_id: str, item_id: str, action: str, value: float | None) -> Asked:
    """POST /feedback."""
    told = _given({"slate_id": slate_id, "item_id": item_id, "action": action, "value": value})
    return Asked("POST", "/feedback", msgspec.json.encode(told))


def put_item(item_id: str, **facts: Any) -> Asked:
    """PUT /items/{item_id}; what is None is not said."""
    return Asked("PUT", _item(item_id), msgspec.json.encode(_given(facts)))


def delete_item(item_id: str) -> Asked:
    """DELETE /items/{item_id}."""
    return Asked("DELETE", _item(item_id))


def item(item_id: str) -> Asked:
    """GET /items/{item_id}."""
    return Asked("GET", _item(item_id))


def is_new(content: bytes) -> bool:
    """Whether what was told had not been told before."""
    return read(content, AcceptedBody).status == "accepted"


class Recommends:
    """What `HeadraceClient` can do about recommendations. `deadline_ms` is the total time of a call."""

    def _call(self, deadline_ms: float | None) -> Call:
        raise NotImplementedError

    def _send(self, call: Call, method: str, path: str, body: bytes | None = None) -> bytes:
        raise NotImplementedError

    def recommend(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        k: int = 10,
        context: dict[str, str] | None = None,
        exclude: Sequence[str] | None = None,
        scenario: str | None = None,
        deadline_ms: float | None = None,
    ) -> Recommendations:
        """A slate for a user, or for the session of who is not signed in."""
        asked = recommend(user_id, session_id, k, context=context, exclude=exclude, scenario=scenario)
        return read(self._send(self._call(deadline_ms), *asked), Recommendations)

    def similar(self, item_id: str, k: int = 10, deadline_ms: float | None = None) -> list[Recommended]:
        """Items that visitors of an item went on to. Raises `Refused` (404) for an item that nobody knows."""
        return read(self._send(self._call(deadline_ms), *similar(item_id, k)), RankedItems).items

    def trending(self, k: int = 10, category: str | None = None, deadline_ms: float | None = None) -> list[Recommended]:
        """What is popular now, in one category or in all."""
        return read(self._send(self._call(deadline_ms), *trending(k, category)), RankedItems).items

    def feedback(
        self, slate_id: str, item_id: str, action: str, value: float | None = None, deadline_ms: float | None = None
    ) -> bool:
        """Say what a visitor did with an item of a slate. False where that was said before."""
        return is_new(self._send(self._call(deadline_ms), *feedback(slate_id, item_id, action, value)))

    def put_item(self, item_id: str, deadline_ms: float | None = None, **facts: Any) -> bool:
        """Say all there is of an item: `title`, `category`, `tags`, `price`. False where that was said before."""
        return is_new(self._send(self._call(deadline_ms), *put_item(item_id, **facts)))

    def delete_item(self, item_id: str, deadline_ms: float | None = None) -> bool:
        """Delete an item: no slate has it from now on. False where it was deleted before."""
        return is_new(self._send(self._call(deadline_ms), *delete_item(item_id)))

    def item(self, item_id: str, deadline_ms: float | None = None) -> CataloguedItem | None:
        """What the catalogue says of an item, None where it has none."""
        try:
            return read(self._send(self._call(deadline_ms), *item(item_id)), CataloguedItem)
        except Refused as error:
            if error.status != 404:
                raise
            return None


class AsyncRecommends:
    """As `Recommends`, awaited."""

    def _call(self, deadline_ms: float | None) -> Call:
        raise NotImplementedError

    async def _send(self, call: Call, method: str, path: str, body: bytes | None = None) -> bytes:
        raise NotImplementedError

    async def recommend(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        k: int = 10,
        context: dict[str, str] | None = None,
        exclude: Sequence[str] | None = None,
        scenario: str | None = None,
        deadline_ms: float | None = None,
    ) -> Recommendations:
        """See `Recommends.recommend`."""
        asked = recommend(user_id, session_id, k, context=context, exclude=exclude, scenario=scenario)
        return read(await self._send(self._call(deadline_ms), *asked), Recommendations)

    async def similar(self, item_id: str, k: int = 10, deadline_ms: float | None = None) -> list[Recommended]:
        """See `Recommends.similar`."""
        return read(await self._send(self._call(deadline_ms), *similar(item_id, k)), RankedItems).items

    async def trending(
        self, k: int = 10, category: str | None = None, deadline_ms: float | None = None
    ) -> list[Recommended]:
        """See `Recommends.trending`."""
        return read(await self._send(self._call(deadline_ms), *trending(k, category)), RankedItems).items

    async def feedback(
        self, slate_id: str, item_id: str, action: str, value: float | None = None, deadline_ms: float | None = None
    ) -> bool:
        """See `Recommends.feedback`."""
        return is_new(await self._send(self._call(deadline_ms), *feedback(slate_id, item_id, action, value)))

    async def put_item(self, item_id: str, deadline_ms: float | None = None, **facts: Any) -> bool:
        """See `Recommends.put_item`."""
        return is_new(await self._send(self._call(deadline_ms), *put_item(item_id, **facts)))

    async def delete_item(self, item_id: str, deadline_ms: float | None = None) -> bool:
        """See `Recommends.delete_item`."""
        return is_new(await self._send(self._call(deadline_ms), *delete_item(item_id)))

    async def item(self, item_id: str, deadline_ms: float | None = None) -> CataloguedItem | None:
        """See `Recommends.item`."""
        try:
            return read(await self._send(self._call(deadline_ms), *item(item_id)), CataloguedItem)
        except Refused as error:
            if error.status != 404:
                raise
            return None


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}


def _item(item_id: str) -> str:
    return f"/items/{quote(item_id, safe='')}"
