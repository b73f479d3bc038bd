"""The HTTP API's answers: what each route takes, gives and refuses, apart from how it is served.

Every door (the front door, BentoML's endpoints) calls these functions, so they answer alike.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from prometheus_client import Counter

from models.shap import NotExplainable
from scoring.explanation import ExactExplainer
from scoring.observed import Observed
from scoring.rule_feed import RuleFeed
from scoring.scorer import EventConflict, Scorer
from stream.card_guard import REFUSING, CardGuard
from stream.card_numbers import mask_bytes
from stream.connection import RedisError, RedisUnavailable
from stream.invalid_record import InvalidRecord
from stream.log import LogFull
from stream.records import Action, Decision, Label, Reading, Transaction, check_time, decode, encode

JSON = b"application/json"
RETRY_AFTER_S = 1

_log = logging.getLogger(__name__)

REQUESTS = Counter("headrace_requests", "Requests answered, by route and status.", ("route", "status"))


class Answer(NamedTuple):
    """A status and a JSON body."""

    status: int
    body: bytes
    retry_after_s: int | None = None
    content_type: bytes = JSON


class Post(NamedTuple):
    """A request to score one record: its body, what is left of its deadline, what it says of its trace (W3C)."""

    body: bytes
    deadline_ms: float
    traceparent: bytes | None = None


class Api:
    """The routes of one use case over one scorer; where it `scores` nothing, events and labels alone."""

    def __init__(
        self,
        scorer: Scorer,
        clock_skew_ms: int,
        deadline_ms: float,
        explainer: ExactExplainer | None = None,
        cards: CardGuard = REFUSING,
        scores: bool = True,
    ) -> None:
        self.scorer = scorer
        self.scores = scores
        self.explainer = explainer
        self.cards = cards
        self.clock_skew = timedelta(milliseconds=clock_skew_ms)
        self.deadline_ms = deadline_ms
        self._routes: dict[str, Callable[[bytes, float], Answer]] = {
            "/events": self._event,
            "/labels": self._label,
        }
        self.score_route = f"/{scorer.use_case.name}/score"
        self.routes = frozenset({*([self.score_route] if scores else []), *self._routes})
        """The paths that take a POST of one record."""
        self.batch_route = f"/{scorer.use_case.name}/score/batch" if scores else ""
        self._counted: dict[tuple[str, int], Counter] = {}
        self.observed = Observed(scorer.use_case.name)
        self._redis_answered = False

    def post(self, path: str, body: bytes, deadline_ms: float | None = None) -> Answer:
        """Answer a POST to one of `routes`. Never raises: every failure is an answer that says what to do."""
        deadline_ms = self.deadline_ms if deadline_ms is None else deadline_ms
        if path not in self.routes:
            answer = refusal(404, "not served here", f"this process does not answer {path}; see HEADRACE_USE_CASES")
        elif path == self.score_route:
            answer = self.score_all([Post(body, deadline_ms)])[0]
        else:
            answer = self._answer(self._routes[path], body, deadline_ms)
        self.count(path, answer.status)
        return answer

    def score_all(self, posts: Sequence[Post]) -> list[Answer]:
        """Answer requests that came together, each as if alone (`Scorer.score_all`). They are not counted by route."""
        answers: dict[int, Answer] = {}
        records: dict[int, tuple[Transaction, float]] = {}
        for place, post in enumerate(posts):
            try:
                record: Transaction = decode(self.cards.clean(post.body), self.scorer.use_case.source)
                check_time(record, datetime.now(UTC), self.clock_skew)
                records[place] = record, post.deadline_ms
            except InvalidRecord as error:
                answers[place] = invalid(error)
        started_s = time.perf_counter()
        for place, scored in zip(records, self.scorer.score_all(list(records.values())), strict=True):
            if isinstance(scored, Exception):
                answers[place] = refused(scored)
                continue
            self.observed.traceparent = posts[place].traceparent
            took_s = time.perf_counter() - started_s
            self.observed.score(scored.decision, took_s, posts[place].deadline_ms / 1000, scored.is_new)
            answers[place] = Answer(200, encode(scored.decision) if scored.content is None else scored.content)
        self.observed.traceparent = None
        return [answers[place] for place in range(len(posts))]

    def count(self, route: str, status: int) -> None:
        """Count one answer of a route, whoever gave it."""
        counter = self._counted.get((route, status))
        if counter is None:
            counter = self._counted[route, status] = REQUESTS.labels(route, str(status))
        counter.inc()

    def _answer(self, route: Callable[[bytes, float], Answer], body: bytes, deadline_ms: float) -> Answer:
        try:
            return route(self.cards.clean(body), deadline_ms)
        except (InvalidRecord, EventConflict, LogFull, RedisUnavailable, RedisError) as error:
            return refused(error)

    def decision(self, event_id: str) -> Answer:
        """GET /decisions/{event_id}."""
        try:
            event_id = self.cards.text(event_id, "event_id")
            found = self.scorer.ledger.answer(event_id, self.deadline_ms)
        except (RedisUnavailable, RedisError) as error:
            return refusal(503, "store unavailable", str(error), retry_after_s=RETRY_AFTER_S)
        except InvalidRecord as error:
            return invalid(error)
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
        """What keeps this scorer from being ready: nothing where it is.

        Redis has to have answered once: then it is the right one; and the rule book has to be known, or the shipped
        rules alone would decide. Later Redis may go, the scorer stays ready: it answers.
        """
        if self.scores and self.scorer.models().batch is None:
            return ["no champion model is loaded"]
        return self._without_redis() or self._without_rules()

    def _without_rules(self) -> list[str]:
        rules = self.scorer.rules
        if self.scores and isinstance(rules, RuleFeed) and not rules.was_answered:
            return ["the rule book was not read yet; it is asked for several times a second"]
        return []

    def _without_redis(self) -> list[str]:
        if self._redis_answered:
            return []
        try:
            reply = self.scorer.ledger.connection.call([("PING",)], self.deadline_ms)[0]
        except (RedisUnavailable, RedisError) as error:
            return [str(error)]
        if isinstance(reply, RedisError):
            return [f"Redis says {reply}"]
        self._redis_answered = True
        return []

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
    """An answer that says what was wrong and what to do; for a record also the field, its value and the remedy.

    Whatever it quotes, no card number is in it.
    """
    body = msgspec.json.encode({"error": error, "message": message, **more})
    return Answer(status, mask_bytes(body), retry_after_s)


def wrong_method(method: str, path: str, there: tuple[str, ...]) -> Answer:
    """What a path says to a method that it does not have."""
    return refusal(405, "wrong method", f"{path} has no {method}; send {' or '.join(there)}")


def refused(error: Exception) -> Answer:
    """What is answered instead, and whether it helps to send it again. An error that nobody foresaw is logged."""
    match error:
        case InvalidRecord():
            return invalid(error)
        case EventConflict():
            return refusal(409, "conflict", str(error), field="event_id", remedy="use an id for one event only")
        case LogFull():
            return refusal(503, "outbox full", str(error), retry_after_s=RETRY_AFTER_S)
        case RedisUnavailable() | RedisError():
            # A late Redis may still have recorded it; sent again, it is recorded once.
            return refusal(503, "store unavailable", f"{error}; send it again", RETRY_AFTER_S)
        case _:
            _log.error("a request could not be answered", exc_info=error)
            return refusal(500, "internal", "it could not be answered; the log of the service says why")


def invalid(error: InvalidRecord) -> Answer:
    """A record, or an id in a path, that was refused."""
    return refusal(400, "invalid", str(error), field=error.field, value=error.value, remedy=error.remedy)


def overloaded(waited_ms: float) -> Answer:
    """It has waited so long that no answer would come in time."""
    text = f"more requests came than can be answered in time, this one has waited {waited_ms:.0f} ms; send it again"
    return refusal(503, "overloaded", text, RETRY_AFTER_S)


def too_large(limit: int) -> Answer:
    """The body is longer than one request may be."""
    return refusal(413, "too large", f"a request body has at most {limit} bytes; send fewer")


def bad_deadline(text: str) -> Answer:
    """The deadline header is not a number of milliseconds."""
    remedy = "send milliseconds, from 1 to 10000"
    message = f"X-Deadline-Ms has {text!r}: {remedy}"
    return refusal(400, "invalid", message, field="X-Deadline-Ms", value=repr(text), remedy=remedy)
