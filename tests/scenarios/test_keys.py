"""The real service where keys are asked for: who comes in, how often, and how soon a step of theirs is obeyed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.client import HeadraceClient, NotAllowed
from headrace.doctor import examine_service
from headrace.stack import Stack
from scoring.key import NewKey, new_key
from scoring.key_feed import REFRESH_INTERVAL_S
from scoring.key_log import KeyLog
from scoring.key_steps import Created, Revoked, Rotated
from stream.connection import RedisConnection
from stream.played import Played
from stream.records import encode
from tests.patient import HEADERS, ask, connected

pytestmark = pytest.mark.slow

LIMIT_S = 240.0
MANY = 8
"""Connections, so that each process has most likely had one."""
SCORE, BATCH = "/fraud/score", "/fraud/score/batch"
EVERY_PATH = (
    SCORE,
    BATCH,
    "/events",
    "/labels",
    "/decisions/a",
    "/explanations/a",
    "/metrics",
    "/docs.json",
    "/schema.json",
)


class Site:
    """A service and its keys."""

    def __init__(self, stack: Stack, url: str) -> None:
        self.url = url
        self.log = KeyLog(RedisConnection(stack.settings.redis))

    def made(self, *scopes: str, **more: Any) -> NewKey:
        """A key that was just made."""
        made = new_key()
        now = datetime.now(UTC)
        self.log.append(Created(at=now, by="ann", key=made.id, name="shop", digest=made.digest, scopes=scopes, **more))
        return made

    def key(self, *scopes: str, **more: Any) -> NewKey:
        """A key that every process of the service takes by now, and those made before."""
        made = self.made(*scopes, **more)
        self.wait_for(made)
        return made

    def wait_for(self, key: NewKey) -> None:
        wait_until(lambda: self.takes(key))
        time.sleep(2 * REFRESH_INTERVAL_S)
        wait_until(lambda: all(self.takes(key) for _ in range(MANY)))

    def takes(self, key: NewKey) -> bool:
        return self.ask("GET", "/nowhere", key)[0] == 404

    def ask(
        self, method: str, path: str, key: NewKey | None = None, body: bytes | None = None, **more: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """One request over a connection of its own, as often as it is refused for now."""
        headers = {**HEADERS, **more}
        if key is not None:
            headers["authorization"] = f"Bearer {key.text}"
        status, told, content = ask(self.url, method, path, body, headers)
        return status, content, told


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_service_lets_in_who_has_a_key(
    stack: Stack, payments: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    stack.settings = stack.settings.but(auth="keys", workers="2")
    stack.start_redis()
    site = Site(stack, stack.start_service())
    with closing(site.log.connection):
        the_gate_keeps_its_promises(site, payments, monkeypatch)


def the_gate_keeps_its_promises(site: Site, payments: list[Played], monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [encode(one.transaction) for one in payments]
    nobody_without_a_key_comes_in(site, bodies[0])
    a_key_may_do_what_its_scopes_say(site, bodies[0])
    a_rate_is_kept_over_all_processes(site, bodies)
    a_body_has_at_most_its_limit(site, bodies)
    a_rotated_key_has_its_grace(site)
    a_revoked_key_is_refused_within_a_second(site)
    the_client_and_the_doctor_send_theirs(site, payments[1], monkeypatch)


def test_without_the_front_door_the_gate_is_the_same(stack: Stack, payments: list[Played]) -> None:
    stack.settings = stack.settings.but(auth="keys", front_door="off")
    stack.start_redis()
    site, body = Site(stack, stack.start_service()), encode(payments[0].transaction)
    with closing(site.log.connection):
        the_gate_is_there(site, body)


def the_gate_is_there(site: Site, body: bytes) -> None:
    nobody_without_a_key_comes_in(site, body)
    a_key_may_do_what_its_scopes_say(site, body)
    limited = site.key("fraud:*", body_limit=len(body), rate_per_s=0.001, burst=3)
    assert site.ask("POST", SCORE, limited, body + b" ")[0] == 413
    statuses: list[int] = []

    def all_are_used() -> bool:
        statuses.append(site.ask("POST", SCORE, limited, body)[0])
        return statuses.count(200) == 3

    wait_until(all_are_used)
    assert set(statuses) <= {200, 429}
    assert [site.ask("POST", SCORE, limited, body)[0] for _ in range(3)] == [429] * 3


def nobody_without_a_key_comes_in(site: Site, body: bytes) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert site.ask("GET", path)[0] == 200
    for path in (*EVERY_PATH, "/", "/nowhere"):
        for method in ("GET", "POST"):
            for key in (None, new_key()):
                status, answer, headers = site.ask(method, path, key, body)
                assert (status, json.loads(answer)["error"]) == (401, "unauthorised"), (method, path)
                assert headers["www-authenticate"].startswith("Bearer")
    wrong = {"authorization": "Bearer \xff\xfe"}, {"x-api-key": "k" * 20_000}, {"authorization": "Basic eDp5"}
    for more in wrong:
        assert site.ask("POST", SCORE, None, body, **more)[0] == 401
    # What is no header at all the server refuses before anybody looks for a key.
    assert site.ask("POST", SCORE, None, body, authorization="Bearer \x01")[0] == 400


def a_key_may_do_what_its_scopes_say(site: Site, body: bytes) -> None:
    scoring, reading, scraping = site.made("fraud:score"), site.made("fraud:read"), site.made("metrics:read")
    every = site.key("*:*")
    event_id = json.loads(body)["event_id"]
    assert site.ask("POST", SCORE, scoring, body)[0] == 200
    assert site.ask("POST", BATCH, scoring, b"[" + body + b"]")[0] == 200
    assert site.ask("GET", f"/decisions/{event_id}", reading)[0] == 200
    for path in ("/events", "/labels", "/metrics", f"/decisions/{event_id}"):
        assert site.ask("POST" if path in ("/events", "/labels") else "GET", path, scoring, body)[0] == 403, path
    assert site.ask("POST", SCORE, reading, body)[0] == 403
    metrics = b""

    def all_is_told() -> bool:
        """A process tells what another has counted a second later, and a part that comes too late is left out."""
        nonlocal metrics
        status, metrics, _ = site.ask("GET", "/metrics", scraping)
        assert status == 200
        wanted = b'headrace_gate_refused_total{key="",reason="no key"}', scoring.id.encode()
        return all(one in metrics for one in wanted)

    wait_until(all_is_told)
    assert scoring.text.rpartition("_")[2].encode() not in metrics
    # What any key may: the documents. They say all paths that there are.
    status, page, _ = site.ask("GET", "/docs.json", scraping)
    assert status == 200
    document = json.loads(page)
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert site.ask(method.upper(), path.format(event_id="x", item_id="x"), every, b"{}")[0] != 401
            if path in ("/livez", "/readyz", "/healthz"):
                assert operation["security"] == [], path
            else:
                assert {"401", "403", "429", "503"} <= set(operation["responses"]), path
                known = site.ask(method.upper(), path.format(event_id="x", item_id="x"), every, b"{}")[1]
                assert b"unknown path" not in known, path


def a_rate_is_kept_over_all_processes(site: Site, bodies: list[bytes]) -> None:
    rate, burst = 5.0, 20
    key = site.key("fraud:score", rate_per_s=rate, burst=burst)
    started = time.monotonic()
    admitted = refused = 0
    while time.monotonic() - started < 2.0 or admitted < burst or not refused:  # tokens go to whoever is asked
        assert time.monotonic() - started < LIMIT_S
        status, answer, headers = site.ask("POST", SCORE, key, bodies[0])
        assert status in (200, 429)
        if status == 200:
            admitted += 1
        else:
            refused += 1
            assert int(headers["retry-after"]) >= 1
            assert key.id in json.loads(answer)["message"]
    took_s = time.monotonic() - started
    # A process that Redis did not answer in time goes on with its part of the rate: of that, a second's worth.
    assert admitted <= burst + rate * (took_s + 1)
    assert site.ask("POST", BATCH, key, b"[" + b",".join(bodies[: burst + 1]) + b"]")[0] == 413


def a_body_has_at_most_its_limit(site: Site, bodies: list[bytes]) -> None:
    key = site.key("fraud:score", body_limit=len(bodies[0]))
    assert site.ask("POST", SCORE, key, bodies[0])[0] == 200
    assert site.ask("POST", SCORE, key, bodies[0] + b" ")[0] == 413
    for body, wanted in ((bodies[0], 200), (bodies[0] + b" " * 5000, 413)):
        with closing(connected(site.url)) as link:
            pieces = iter([body[:100], body[100:]])
            link.request("POST", SCORE, pieces, {"x-api-key": key.text}, encode_chunked=True)
            with link.getresponse() as answer:
                assert answer.status == wanted


def a_rotated_key_has_its_grace(site: Site) -> None:
    old = site.key("fraud:score")
    new = new_key(old.id)
    now = datetime.now(UTC)
    until = now + timedelta(seconds=4)
    site.log.append(Rotated(at=now, by="ann", key=old.id, digest=new.digest, old_until=until))
    site.wait_for(new)
    assert site.takes(old) or datetime.now(UTC) >= until
    wait_until(lambda: not any(site.takes(old) for _ in range(MANY)))
    assert datetime.now(UTC) >= until
    assert site.takes(new)


def a_revoked_key_is_refused_within_a_second(site: Site) -> None:
    assert REFRESH_INTERVAL_S < 1
    key = site.key("fraud:score")
    site.log.append(Revoked(at=datetime.now(UTC), by="ann", key=key.id))
    wait_until(lambda: not any(site.takes(key) for _ in range(MANY)))
    time.sleep(2 * REFRESH_INTERVAL_S)  # a process that was held up had no connection, most likely
    wait_until(lambda: not any(site.takes(key) for _ in range(MANY)))
    assert not any(site.takes(key) for _ in range(2 * MANY))


def the_client_and_the_doctor_send_theirs(site: Site, payment: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    key = site.key("fraud:score", "metrics:read")
    with HeadraceClient(site.url, api_key=key.text, deadline_ms=9000) as client:
        assert client.score(payment.transaction).event_id == payment.transaction.event_id
    with HeadraceClient(site.url, deadline_ms=9000) as client, pytest.raises(NotAllowed):
        client.score(payment.transaction)
    refused = [one for one in examine_service(site.url) if one.subject == "metrics"]
    assert "HEADRACE_API_KEY" in refused[0].remedy
    monkeypatch.setenv("HEADRACE_API_KEY", key.text)
    assert not any("scope" in one.words for one in examine_service(site.url))
