"""The HTTP API's answers: what each route takes, gives and refuses, apart from how it is served.

Every door (the front door, BentoML's endpoints) calls these functions, so they answer alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from prometheus_client import Counter, Histogram

from models.shap import NotExplainable
from scoring.explanation import ExactExplainer
from scoring.scorer import EventConflict, Scorer
from stream.connection import RedisError, RedisUnavailable
from stream.log import LogFull
from stream.records import Action, Decision, InvalidRecord, Label, Reading, Transaction, check_time, decode, encode

JSON = b"application/json"
RETRY_AFTER_S = 1
LATENCY_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)

REQUESTS = Counter("headrace_requests", "Requests answered, by route and status.", ("route", "status"))
LATENCY = Histogram("headrace_score_seconds", "Time from the parsed request to the answer.", buckets=LATENCY_BUCKETS)
OUTCOMES = Counter("headrace_outcomes", "Decisions, by use case and outcome.", ("use_case", "outcome"))
DEGRADED = Counter("headrace_degraded", "Decisions that lacked something, by what was missing.", ("missing",))


class Answer(NamedTuple):
    """A status and a JSON body."""

    status: int
    body: bytes
    retry_after_s: int | None = None
    content_type: bytes = JSON


class Api:
    """The routes of one use case over one scorer."""

    def __init__(
        self, scorer: Scorer, clock_skew_ms: int, deadline_ms: float, explainer: ExactExplainer | None = None
    ) -> None:
        self.scorer = scorer
        self.explainer = explainer
        self.clock_skew = timedelta(milliseconds=clock_skew_ms)
        self.deadline_ms = deadline_ms
        self._routes: dict[str, Callable[[bytes, float], Answer]] = {
            f"/{scorer.use_case.name}/score": self._score,
            "/events": self._event,
            "/labels": self._label,
        }
        self.routes = frozenset(self._routes)
        """The paths that take a POST of one record."""
        self.batch_route = f"/{scorer.use_case.name}/score/batch"
        self._counted: dict[tuple[str, int], Counter] = {}
        self._outcomes = {
            outcome: OUTCOMES.labels(scorer.use_case.name, outcome) for outcome in ("approve", "review", "decline")
        }

    def post(self, path: str, body: bytes, deadline_ms: float | None = None) -> Answer:
        """Answer a POST to one of `routes`. Never raises: every failure is an answer that says what to do."""
        answer = self._answer(self._routes[path], body, self.deadline_ms if deadline_ms is None else deadline_ms)
        self.count(path, answer.status)
        return answer

    def score_one(self, body: bytes, deadline_ms: float) -> Answer:
        """Answer one record of a batch as if it had come alone. Never raises; the batch is counted, not its records."""
        return self._answer(self._score, body, deadline_ms)

    def count(self, route: str, status: int) -> None:
        """Count one answer of a route, whoever gave it."""
        counter = self._counted.get((route, status))
        if counter is None:
            counter = self._counted[route, status] = REQUESTS.labels(route, str(status))
        counter.inc()

    def _answer(self, route: Callable[[bytes, float], Answer], body: bytes, deadline_ms: float) -> Answer:
        try:
            return route(body, deadline_ms)
        except InvalidRecord as error:
            return refusal(400, "invalid", str(error), field=error.field, value=error.value, remedy=error.remedy)
        except EventConflict as error:
            return refusal(409, "conflict", str(error), field="event_id", remedy="use an id for one event only")
        except LogFull as error:
            return refusal(503, "outbox full", str(error), retry_after_s=RETRY_AFTER_S)
        except (RedisUnavailable, RedisError) as error:
            # A late Redis may still have recorded it; sent again, it is recorded once.
            return refusal(503, "store unavailable", f"{error}; send it again", RETRY_AFTER_S)

    def decision(self, event_id: str) -> Answer:
        """GET /decisions/{event_id}."""
        try:
            found = self.scorer.ledger.answer(event_id, self.deadline_ms)
        except (RedisUnavailable, RedisError) as error:
            return refusal(503, "store unavailable", str(error), retry_after_s=RETRY_AFTER_S)
        if found is None:
            return refusal(404, "unknown event", f"no decision is kept for event id {event_id!r}")
        return Answer(200, found)

    def explanation(self, decision: bytes) -> Answer:
        """GET /explanations/{event_id}, given what `decision` answered. Milliseconds: not for the scorer's thread.

        It touches nothing that belongs to that thread. Where a model version is asked for the first time, its file is
        read.
        """
        if self.explainer is None:
            return refusal(404, "no explanations", "this service has no model registry to explain from")
        try:
            return Answer(200, msgspec.json.encode(self.explainer.explain(decode(decision, Decision))))
        except (LookupError, NotExplainable, InvalidRecord) as error:
            return refusal(404, "not explainable", str(error))

    def ready(self) -> list[str]:
        """What keeps this scorer from being ready: nothing where it is."""
        try:
            reply = self.scorer.ledger.connection.call([("PING",)], self.deadline_ms)[0]
        except (RedisUnavailable, RedisError) as error:
            return [str(error)]
        if isinstance(reply, RedisError):
            return [f"Redis says {reply}"]
        return [] if self.scorer.models().batch is not None else ["no champion model is loaded"]

    def _score(self, body: bytes, deadline_ms: float) -> Answer:
        record: Transaction = decode(body, self.scorer.use_case.source)
        check_time(record, datetime.now(UTC), self.clock_skew)
        started = time.perf_counter()
        decision: Decision = self.scorer.score(record, deadline_ms)
        LATENCY.observe(time.perf_counter() - started)
        self._outcomes[decision.outcome].inc()
        for missing in decision.degraded:
            DEGRADED.labels(missing).inc()
        return Answer(200, encode(decision))

    def _event(self, body: bytes, deadline_ms: float) -> Answer:
        record: Any = decode(body, Transaction | Action | Reading)
        check_time(record, datetime.now(UTC), self.clock_skew)
        return _accepted(record.event_id, self.scorer.accept(record, deadline_ms))

    def _label(self, body: bytes, deadline_ms: float) -> Answer:
        record: Label = decode(body, Label)
        check_time(record, datetime.now(UTC), self.clock_skew)
        happened = record.event_timestamp
        if happened is not None and happened > record.labelled_at + self.clock_skew:
            # A history counts back from its newest row: one from the future would push all others out.
            raise InvalidRecord(
                "event_timestamp", happened.isoformat(), "lies after 'labelled_at'; send the event's time"
            )
        return _accepted(record.event_id, self.scorer.accept(record, deadline_ms))


def _accepted(event_id: str, is_new: bool) -> Answer:
    return Answer(202, msgspec.json.encode({"event_id": event_id, "status": "accepted" if is_new else "repeated"}))


def refusal(status: int, error: str, message: str, retry_after_s: int | None = None, **more: str) -> Answer:
    """An answer that says what was wrong and what to do; for a record also the field, its value and the remedy."""
    return Answer(status, msgspec.json.encode({"error": error, "message": message, **more}), retry_after_s)


def too_large(limit: int) -> Answer:
    """The body is longer than one request may be."""
    return refusal(413, "too large", f"a request body has at most {limit} bytes; send fewer")


def bad_deadline(text: str) -> Answer:
    """The deadline header is not a number of milliseconds."""
    remedy = "send milliseconds, from 1 to 10000"
    message = f"X-Deadline-Ms has {text!r}: {remedy}"
    return refusal(400, "invalid", message, field="X-Deadline-Ms", value=repr(text), remedy=remedy)
