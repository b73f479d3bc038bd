"""The gate: who may ask what of the service, how often and with how long a body. An ASGI application around all others.

It stands before every path (the front door's, BentoML's own), or is not there at all where `auth` is off. A request is
held to, in this order: a key that is taken (401), a path that there is (404), the path's scope (403), the key's body
limit (413), the key's rate (429). While the keys could never be read, nothing is known of anybody: 503. No answer, log
or metric has a secret, or anything else of the headers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from prometheus_client import Counter

from scoring.api import RETRY_AFTER_S, Answer, refusal
from scoring.asgi import AsgiApp, Receive, Scope, Send
from scoring.asgi_answer import respond
from scoring.batch_door import USUAL, Bounds
from scoring.key_scopes import BATCHES, Ask, Asked, asked_by
from scoring.key_table import Caller, KeyTable, NotKnown
from scoring.whole_body import WholeBody, content_length, records_in

REFUSED = Counter("headrace_gate_refused", "Requests that the gate refused, by why and by key.", ("reason", "key"))
CHALLENGE = (b"www-authenticate", b'Bearer realm="headrace"')
POLICY_VIOLATION = 1008
CALLER = "headrace_key"
"""In the scope of an admitted request: the id of its key."""
_NOTHING, _ANY_KEY = Ask.NOTHING, Ask.ANY_KEY
HOW = "send 'Authorization: Bearer hr_<id>_<secret>', or the key alone as 'X-API-Key'"


class Keys(Protocol):
    """Where the gate finds the present keys (`KeyFeed`)."""

    current: KeyTable | None
    problem: str


class Turned(NamedTuple):
    """A request that was turned away: a short word for why, what is answered, and the key's id where it has one."""

    reason: str
    answer: Answer
    key: str = ""


class Gate:
    """An ASGI application that asks for keys, around another. `clock` gives seconds since 1970."""

    def __init__(
        self, inner: AsgiApp, keys: Keys, bounds: Bounds = USUAL, clock: Callable[[], float] = time.time
    ) -> None:
        self.inner = inner
        self._keys = keys
        self._bounds = bounds
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an admitted request on, or say why it is not one."""
        if scope["type"] == "http":
            asked = asked_by(scope["path"], scope["method"])
            if asked is not _NOTHING:
                found = self._caller(scope, asked)
                if isinstance(found, Caller):
                    scope[CALLER] = found.id
                    if found.body_limit is not None or found.allowance is not None:
                        bounded = await self._bounded(found, scope, receive)
                        if isinstance(bounded, Turned):
                            await _turn_away(send, bounded)
                            return
                        receive = bounded
                else:
                    await _turn_away(send, found)
                    return
        elif scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        await self.inner(scope, receive, send)

    def _caller(self, scope: Scope, asked: Asked | None) -> Caller | Turned:
        """Who asks, if they may ask this."""
        table = self._keys.current
        if table is None:
            message = f"the API keys could not be read yet: {self._keys.problem}; try again"
            return Turned("no table", refusal(503, "keys not read", message, RETRY_AFTER_S))
        text = _key_text(scope)
        if isinstance(text, Turned):
            return text
        try:
            caller = table.find(text, self._clock())
        except NotKnown as error:
            return _unauthorised(error.reason, f"the API key is not taken: {error}")
        if asked is None:
            return Turned("path", refusal(404, "unknown path", "there is no such path; see /docs.json"), caller.id)
        if asked is not _ANY_KEY and asked not in caller.allowed:
            remedy = f"use a key with --scope {asked}"
            message = f"key {caller.id} lacks the scope {asked} that this path asks for; {remedy}"
            return Turned("scope", refusal(403, "forbidden", message, value=str(asked), remedy=remedy), caller.id)
        return caller

    async def _bounded(self, caller: Caller, scope: Scope, receive: Receive) -> Receive | Turned:
        """The body of a caller who is held to a length or a rate: from where to receive it."""
        limit, allowance = caller.body_limit, caller.allowance
        batch = scope["method"] == "POST" and scope["path"] in BATCHES
        if limit is not None and content_length(scope) > limit:
            return _too_long(caller, limit)
        if allowance is not None and not batch and not allowance.take():
            return _too_many(caller, 1, allowance.wait_s())
        if limit is None and not batch:
            return receive
        whole = await WholeBody.read(receive, self._bounds.body_bytes if limit is None else limit)
        if limit is not None and whole.length > limit:
            return _too_long(caller, limit)
        if allowance is not None and batch:
            cost = records_in(whole, scope, self._bounds)
            if cost > allowance.burst:
                message = f"a batch of key {caller.id} has at most {allowance.burst} records (its burst), this one has "
                message += f"{cost}; send several"
                return Turned("body", refusal(413, "too large", message), caller.id)
            if not allowance.take(cost):
                return _too_many(caller, cost, allowance.wait_s(cost))
        return whole.again(receive)


def _key_text(scope: Scope) -> bytes | Turned:
    """The key that a request sends, whatever it is."""
    found = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if found is not None:
                return _unauthorised("twice", f"the request has more than one key; {HOW}, once")
            scheme, _, found = value.partition(b" ")
            if scheme.lower() != b"bearer":
                return _unauthorised("scheme", f"the header Authorization has another scheme than Bearer; {HOW}")
        elif name == b"x-api-key":
            if found is not None:
                return _unauthorised("twice", f"the request has more than one key; {HOW}, once")
            found = value
    return _unauthorised("no key", f"an API key is missing; {HOW}") if found is None else found.strip()


def _unauthorised(reason: str, message: str) -> Turned:
    return Turned(reason, refusal(401, "unauthorised", message, remedy=HOW))


def _too_long(caller: Caller, limit: int) -> Turned:
    message = f"a request body of key {caller.id} has at most {limit} bytes; send fewer"
    return Turned("body", refusal(413, "too large", message), caller.id)


def _too_many(caller: Caller, cost: int, wait_s: int) -> Turned:
    assert caller.allowance is not None
    rate, burst = caller.allowance.rate_per_s, caller.allowance.burst
    remedy = f"wait {wait_s} s, then send it again"
    message = f"key {caller.id} may make {rate:g} requests/s and {burst} at once (a batch counts its records: {cost})"
    return Turned("rate", refusal(429, "too many requests", f"{message}; {remedy}", wait_s, remedy=remedy), caller.id)


async def _turn_away(send: Send, turned: Turned) -> None:
    REFUSED.labels(turned.reason, turned.key).inc()
    challenge = [CHALLENGE] if turned.answer.status == 401 else []
    await respond(send, turned.answer, *challenge)
