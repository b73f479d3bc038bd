"""The Python client: `HeadraceClient`, and `AsyncHeadraceClient` for asyncio.

It needs httpx and msgspec, nothing of the server: httpx has one interface for both, keeps connections, and knows TLS
and proxies; msgspec decodes the answers into the very structs that the service encodes.

    with HeadraceClient("http://localhost:3000") as client:
        decision = client.score(Transaction(event_id="tx-1", ...), deadline_ms=100)

A call has a total time, `deadline_ms`, tries included. The service is told each attempt's part of it (`X-Deadline-Ms`),
and answers by then with what it has. Lost connections, timeouts and 503s are tried again, with the same event id.

Each call raises `InvalidRequest`, `EventConflict` or `NotAllowed` where the service refuses it, `Unavailable` where
there was no answer in time, and `UnexpectedAnswer` where something else answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from headrace.client_batch import Answered, Batch
from headrace.client_call import (
    AcceptedBody,
    Call,
    Decision,
    EventConflict,
    HeadraceError,
    InvalidRequest,
    NotAllowed,
    Paths,
    Refused,
    Unavailable,
    UnexpectedAnswer,
    read,
)
from headrace.client_key import bearer, key_of
from headrace.client_recommend import AsyncRecommends, CataloguedItem, Recommendations, Recommended, Recommends
from stream.records import Action, Event, Label, Reading, Transaction, encode

__all__ = [
    "Action",
    "Answered",
    "AsyncHeadraceClient",
    "CataloguedItem",
    "Decision",
    "EventConflict",
    "HeadraceClient",
    "HeadraceError",
    "InvalidRequest",
    "Label",
    "NotAllowed",
    "Reading",
    "Recommendations",
    "Recommended",
    "Refused",
    "Transaction",
    "Unavailable",
    "UnexpectedAnswer",
]

DEADLINE_MS = 1000.0
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0)
"""The service closes a connection after 75 idle seconds; this side must be first."""
LOST = (httpx.TransportError, TimeoutError)


class HeadraceClient(Recommends):
    """The service at `url`, for any number of threads. Close it, or use it as a context manager.

    `deadline_ms` is the total time of a call that does not say; `api_key` is sent with each, by default the one in the
    environment variable `HEADRACE_API_KEY`; `transport` is httpx's, for tests and proxies.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_ms: float = DEADLINE_MS,
        use_case: str = "fraud",
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.deadline_ms = deadline_ms
        self._paths = Paths(use_case)
        transport = transport or httpx.HTTPTransport(limits=LIMITS)
        self._http = httpx.Client(base_url=url, transport=transport, headers=bearer(key_of(api_key)))

    def __enter__(self) -> HeadraceClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def score(self, transaction: Transaction, deadline_ms: float | None = None) -> Decision:
        """The decision on a transaction: the same one however often it is asked for."""
        return read(self._send(self._call(deadline_ms), "POST", self._paths.score, encode(transaction)), Decision)

    def score_batch(self, transactions: Sequence[Transaction], deadline_ms: float | None = None) -> list[Answered]:
        """A decision for each, in their order, or the error that it would have raised alone; `deadline_ms` is of all.

        Raises only what concerns the whole batch: `InvalidRequest` where it has more records than the service takes.
        """
        call, batch = self._call(deadline_ms), Batch(transactions)
        try:
            while (found := batch.take(self._send(call, "POST", self._paths.batch, batch.body()), call)) is None:
                time.sleep(call.pause_s())
        except Unavailable:
            if not batch.begun:
                raise
            return batch.answers()
        return found

    def event(self, record: Event, deadline_ms: float | None = None) -> bool:
        """Have an event counted that needs no score. False where it was before."""
        return _is_new(self._send(self._call(deadline_ms), "POST", self._paths.events, encode(record)))

    def label(self, label: Label, deadline_ms: float | None = None) -> bool:
        """Say what an event turned out to be. False where that was said before."""
        return _is_new(self._send(self._call(deadline_ms), "POST", self._paths.labels, encode(label)))

    def decision(self, event_id: str, deadline_ms: float | None = None) -> Decision | None:
        """The decision of an event, None where none is kept."""
        try:
            return read(self._send(self._call(deadline_ms), "GET", self._paths.decision(event_id)), Decision)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def _call(self, deadline_ms: float | None) -> Call:
        return Call(self.deadline_ms if deadline_ms is None else deadline_ms)

    def _send(self, call: Call, method: str, path: str, body: bytes | None = None) -> bytes:
        while True:
            attempt_s = call.attempt_s()
            request = self._http.build_request(method, path, content=body, headers=_headers(call, attempt_s))
            try:
                status, headers, content = self._exchange(request, time.monotonic() + attempt_s)
                found = call.take(status, headers, content)
                if found is not None:
                    return found
            except LOST as error:
                call.lost(error)
            time.sleep(call.pause_s())

    def _exchange(self, request: httpx.Request, ends_at: float) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body by the given time.

        httpx bounds each step (connect, write, read) by itself. Before each step its bound becomes what is left; only
        a server that trickles its answer can take longer, by one bound at most.
        """
        timeouts: dict[str, float] = {}

        def shrink(*_: Any) -> None:
            timeouts.update(dict.fromkeys(("connect", "read", "write", "pool"), max(0.001, ends_at - time.monotonic())))

        shrink()
        request.extensions |= {"timeout": timeouts, "trace": shrink}
        answer = self._http.send(request, stream=True)
        try:
            content = bytearray()
            for chunk in answer.iter_bytes():
                content += chunk
                if time.monotonic() > ends_at:
                    raise TimeoutError("the answer was not whole in time")
            return answer.status_code, answer.headers, bytes(content)
        finally:
            answer.close()


class AsyncHeadraceClient(AsyncRecommends):
    """As `HeadraceClient`, for one asyncio loop: the same calls, awaited."""

    def __init__(
        self,
        url: str,
        *,
        deadline_ms: float = DEADLINE_MS,
        use_case: str = "fraud",
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.deadline_ms = deadline_ms
        self._paths = Paths(use_case)
        transport = transport or httpx.AsyncHTTPTransport(limits=LIMITS)
        self._http = httpx.AsyncClient(base_url=url, transport=transport, timeout=None, headers=bearer(key_of(api_key)))

    async def __aenter__(self) -> AsyncHeadraceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def score(self, transaction: Transaction, deadline_ms: float | None = None) -> Decision:
        """See `HeadraceClient.score`."""
        call = self._call(deadline_ms)
        return read(await self._send(call, "POST", self._paths.score, encode(transaction)), Decision)

    async def score_batch(
        self, transactions: Sequence[Transaction], deadline_ms: float | None = None
    ) -> list[Answered]:
        """See `HeadraceClient.score_batch`."""
        call, batch = self._call(deadline_ms), Batch(transactions)
        try:
            while (found := batch.take(await self._send(call, "POST", self._paths.batch, batch.body()), call)) is None:
                await asyncio.sleep(call.pause_s())
        except Unavailable:
            if not batch.begun:
                raise
            return batch.answers()
        return found

    async def event(self, record: Event, deadline_ms: float | None = None) -> bool:
        """See `HeadraceClient.event`."""
        return _is_new(await self._send(self._call(deadline_ms), "POST", self._paths.events, encode(record)))

    async def label(self, label: Label, deadline_ms: float | None = None) -> bool:
        """See `HeadraceClient.label`."""
        return _is_new(await self._send(self._call(deadline_ms), "POST", self._paths.labels, encode(label)))

    async def decision(self, event_id: str, deadline_ms: float | None = None) -> Decision | None:
        """See `HeadraceClient.decision`."""
        try:
            return read(await self._send(self._call(deadline_ms), "GET", self._paths.decision(event_id)), Decision)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def _call(self, deadline_ms: float | None) -> Call:
        return Call(self.deadline_ms if deadline_ms is None else deadline_ms)

    async def _send(self, call: Call, method: str, path: str, body: bytes | None = None) -> bytes:
        while True:
            attempt_s = call.attempt_s()
            headers = _headers(call, attempt_s)
            try:
                async with asyncio.timeout(attempt_s):
                    answer = await self._http.request(method, path, content=body, headers=headers)
                found = call.take(answer.status_code, answer.headers, answer.content)
                if found is not None:
                    return found
            except LOST as error:
                call.lost(error)
            await asyncio.sleep(call.pause_s())


def _headers(call: Call, attempt_s: float) -> dict[str, str]:
    return {"content-type": "application/json", "x-deadline-ms": call.header(attempt_s)}


def _is_new(content: bytes) -> bool:
    return read(content, AcceptedBody).status == "accepted"
