"""A client sends its key with every request, and shows it to nobody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from headrace.client import AsyncHeadraceClient, HeadraceClient, NotAllowed, Transaction, Unavailable
from scoring.openapi import DECISION_EXAMPLE
from scoring.openapi_keys import REFUSALS

KEY = "hr_0123456789ab_" + "5" * 64
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PAYMENT = Transaction(event_id="tx-1001", event_timestamp=AT, card_id="c", merchant_id="m", amount=129.9)


class Service(httpx.MockTransport):
    """Answers with the next of its statuses, the last one for ever, and keeps the keys that it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.keys: list[str | None] = []
        super().__init__(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("authorization"))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        content: Any = DECISION_EXAMPLE if status == 200 else REFUSALS[status][1]
        headers = {"retry-after": "0"} if status == 429 else {}
        return httpx.Response(status, content=msgspec.json.encode(content), headers=headers)


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)


def score(service: Service, **options: Any) -> None:
    with HeadraceClient("http://service", transport=service, deadline_ms=60_000, **options) as client:
        client.score(PAYMENT)


def test_both_clients_send_the_key_that_they_were_given_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(200)

    async def score_awaited() -> None:
        async with AsyncHeadraceClient("http://service", transport=service, deadline_ms=60_000, api_key=KEY) as client:
            await client.score(PAYMENT)

    score(service)
    score(service, api_key=KEY)
    asyncio.run(score_awaited())
    monkeypatch.setenv("HEADRACE_API_KEY", "other")
    score(service)
    score(service, api_key=KEY)
    score(service, api_key="")
    assert service.keys == [None, f"Bearer {KEY}", f"Bearer {KEY}", "Bearer other", f"Bearer {KEY}", None]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_raises_at_once_and_is_not_told(status: int) -> None:
    service = Service(status)
    with pytest.raises(NotAllowed) as caught:
        score(service, api_key=KEY)
    assert caught.value.status == status
    assert len(service.keys) == 1
    assert KEY not in repr(caught.value) + str(caught.value) + str(vars(caught.value))


def test_a_rate_that_is_used_up_is_waited_for() -> None:
    service = Service(429, 429, 200)
    score(service, api_key=KEY)
    assert len(service.keys) == 3
    with pytest.raises(Unavailable):
        score(Service(429), api_key=KEY)


def test_a_client_does_not_show_its_key() -> None:
    with HeadraceClient("http://service", api_key=KEY) as client:
        assert KEY not in repr(client) + repr(vars(client))
        assert KEY not in repr(client._http.headers)


@pytest.mark.parametrize("text", ["secret with spaces", "sécret", "secret\n", "s" * 300])
def test_a_text_that_cannot_be_sent_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(ValueError, match="api_key has") as caught:
        HeadraceClient("http://service", api_key=text)
    assert text not in str(caught.value)
