"""What `/docs.json` says of our routes: BentoML's document, amended here and nowhere else.

BentoML documents its endpoints as it would answer them. The front door answers otherwise (statuses, refusals, batches,
ids in the path, a deadline in a header), so each of our paths is described anew from the structs that are decoded and
encoded; what BentoML serves itself keeps its path and gets its true answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import msgspec

from scoring.examples import EXAMPLE, LABEL_EXAMPLE
from scoring.explanation import Explanation
from scoring.openapi_keys import secured
from scoring.openapi_recommending import KINDS, TAG, recommending_paths
from stream.records import Action, Decision, Label, Reading, Transaction, decode, encode

REFS = "#/components/schemas/{name}"
JSON = "application/json"
LINES = "application/x-ndjson"
TAGS = [
    {"name": "Scoring", "description": "Transactions in, decisions out."},
    TAG,
    {"name": "Infrastructure", "description": "For orchestrators and Prometheus."},
]


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a request was not taken. Where a field is to blame: which one, what it has, and what to do."""

    error: str
    message: str
    field: str | None = None
    value: str | None = None
    remedy: str | None = None


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event is durable and in the features; `repeated` where it was so before."""

    event_id: str
    status: Literal["accepted", "repeated"]


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one record of a batch would have been answered alone: a decision with status 200, else a refusal."""

    status: int
    decision: Decision | None = None
    refusal: Refusal | None = None


DECISION_EXAMPLE = msgspec.json.decode(
    encode(
        Decision(
            event_id="tx-1001",
            event_timestamp=datetime(2026, 1, 31, 12, tzinfo=UTC),
            scored_at=datetime(2026, 1, 31, 12, 0, 0, 4000, UTC),
            use_case="fraud",
            outcome="review",
            score=0.129,
            scores={},
            vector=[1.0, None],
            definition_hash="c880be06317d",
            policy_version="fraud-policy-1",
            record=decode(msgspec.json.encode(EXAMPLE), Transaction),
        )
    )
)
REFUSALS: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "The request cannot be used; sent again as it is, it never will be.",
        {
            "error": "invalid",
            "message": "field 'amount' has -1: expected float >= 0.0",
            "field": "amount",
            "value": "-1",
            "remedy": "expected float >= 0.0",
        },
    ),
    404: (
        "Nothing is kept for this event id.",
        {"error": "unknown event", "message": "no decision is kept for event id 'tx-1001'"},
    ),
    409: (
        "The event id came before, with another record.",
        {
            "error": "conflict",
            "message": "event id 'tx-1001' was answered before for another record; use an id for one event only",
            "field": "event_id",
            "remedy": "use an id for one event only",
        },
    ),
    413: (
        "The body is too long, or the batch has too many records.",
        {"error": "too large", "message": "a request body has at most 65536 bytes; send fewer"},
    ),
    503: (
        "Nothing is certain to be recorded: send it again, with the same event id, after `Retry-After` seconds.",
        {"error": "store unavailable", "message": "Redis at 127.0.0.1:6379 did not answer: timed out; send it again"},
    ),
}
DEADLINE = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "required": False,
    "description": "How long the answer may take, in milliseconds; by default as the service is set.",
    "schema": {"type": "number", "minimum": 1, "maximum": 10000},
    "example": 50,
}
EVENT_ID = {
    "name": "event_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    "example": "tx-1001",
}


def amended(document: Mapping[str, Any], use_case: str = "fraud") -> dict[str, Any]:
    """BentoML's document with our paths as they are answered. In JSON Schema's words, so OpenAPI 3.1."""
    paths = {path: item for path, item in document["paths"].items() if "post" not in item} | paths_of(use_case)
    paths |= recommending_paths(_ref, _refusals, _accepted(), DEADLINE)
    for path, item in paths.items():
        if "get" in item and path in INFRASTRUCTURE:
            item["get"] = _plain(item["get"], path)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Headrace", "version": version("headrace"), "description": "Real-time scoring."},
        "servers": document.get("servers", []),
        "tags": TAGS,
        "paths": paths,
        "components": {"schemas": schemas()},
    }
    return secured(whole, _ref(Refusal))


def schemas() -> dict[str, Any]:
    """The schema of each struct that a body holds, by its name."""
    kinds = [Transaction, Action, Reading, Label, Decision, Refusal, Accepted, BatchItem, Explanation, *KINDS]
    _, found = msgspec.json.schema_components(kinds, ref_template=REFS)
    for schema in found.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    # Exactly one of the two; the structs say only that there may be either.
    either = found["BatchItem"]
    either["properties"] |= {"decision": _ref(Decision), "refusal": _ref(Refusal)}
    either["oneOf"] = [
        {"required": ["decision"], "properties": {"status": {"const": 200}}},
        {"required": ["refusal"], "properties": {"status": {"enum": [400, 409, 503]}}},
    ]
    # Where only one type of record is taken, it need not say which.
    for kind in (Transaction, Label):
        whole = found[kind.__name__]
        found[_request(kind)] = {**whole, "required": [name for name in whole["required"] if name != "type"]}
    for optional in ("field", "value", "remedy"):
        found["Refusal"]["properties"][optional] = {"type": "string"}
    return found


def paths_of(use_case: str) -> dict[str, Any]:
    """Our routes."""
    example = {"record": {"value": EXAMPLE}}
    events = {"oneOf": [_ref(kind) for kind in (Transaction, Action, Reading)]}
    batch = {"type": "array", "items": {"$ref": REFS.format(name=_request(Transaction))}}
    items = {"type": "array", "items": _ref(BatchItem)}
    lines = {"type": "string", "description": "One JSON value a line."}
    answered = [{"status": 200, "decision": DECISION_EXAMPLE}, {"status": 400, "refusal": REFUSALS[400][1]}]
    return {
        f"/{use_case}/score": _post(
            "score",
            "Score one transaction. The same event id again gives the same decision.",
            {JSON: {"schema": {"$ref": REFS.format(name=_request(Transaction))}, "examples": example}},
            {200: ("The decision.", {JSON: {"schema": _ref(Decision), "example": DECISION_EXAMPLE}})},
        ),
        f"/{use_case}/score/batch": _post(
            "score_batch",
            "Score many transactions, in their order. Each is answered in its place as if it had come alone, whatever "
            "becomes of the others. The deadline is that of all; what it does not reach is refused with a 503. NDJSON "
            "in, NDJSON out.",
            {
                JSON: {"schema": batch, "examples": {"records": {"value": [EXAMPLE]}}},
                LINES: {"schema": lines, "example": msgspec.json.encode(EXAMPLE).decode() + "\n"},
            },
            {
                200: (
                    "An answer for each record, in the records' order.",
                    {
                        JSON: {"schema": items, "example": answered},
                        LINES: {"schema": lines, "example": msgspec.json.encode(answered[1]).decode() + "\n"},
                    },
                )
            },
            without=(409,),
        ),
        "/events": _post(
            "event",
            "Take an event that needs no score: it is in the features when this returns.",
            {JSON: {"schema": events, "examples": example}},
            {202: _accepted()},
        ),
        "/labels": _post(
            "label",
            "Take what an event turned out to be. A later label with another verdict reverses the earlier one.",
            {
                JSON: {
                    "schema": {"$ref": REFS.format(name=_request(Label))},
                    "examples": {"record": {"value": LABEL_EXAMPLE}},
                }
            },
            {202: _accepted()},
            without=(409,),
        ),
        "/decisions/{event_id}": _get(
            "decision", "The decision of an event, as long as it is kept.", _ref(Decision), DECISION_EXAMPLE
        ),
        "/explanations/{event_id}": _get(
            "explanation", "What the decision's batch score is made of, feature by feature.", _ref(Explanation)
        ),
    }


def _accepted() -> tuple[str, dict[str, Any]]:
    example = {"event_id": "tx-1001", "status": "accepted"}
    return ("Durable, now or before.", {JSON: {"schema": _ref(Accepted), "example": example}})


def _post(
    name: str, text: str, content: Any, good: dict[int, tuple[str, Any]], without: tuple[int, ...] = ()
) -> dict[str, Any]:
    responses = {str(status): {"description": words, "content": body} for status, (words, body) in good.items()}
    refused = _refusals(*(status for status in (400, 409, 413, 503) if status not in without))
    operation = _operation(name, text, [DEADLINE], responses | refused)
    return {"post": operation | {"requestBody": {"required": True, "content": content}}}


def _get(name: str, text: str, schema: Any, example: Any = None) -> dict[str, Any]:
    content = {"schema": schema} | ({} if example is None else {"example": example})
    good = {"200": {"description": "What is kept.", "content": {JSON: content}}}
    return {"get": _operation(name, text, [EVENT_ID], good | _refusals(404, 503))}


def _operation(name: str, text: str, parameters: list[Any], responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["Scoring"],
        "description": text,
        "parameters": parameters,
        "responses": responses,
    }


def _refusals(*statuses: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in statuses:
        words, example = REFUSALS[status]
        found[str(status)] = {"description": words, "content": {JSON: {"schema": _ref(Refusal), "example": example}}}
    if "503" in found:
        found["503"]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return found


INFRASTRUCTURE = {"/healthz": {}, "/livez": {}, "/readyz": {"503": {"description": "Not ready."}}, "/metrics": {}}


def _plain(operation: Mapping[str, Any], path: str) -> dict[str, Any]:
    good = {"200": {"description": "As it should be.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    return {**operation, "tags": ["Infrastructure"], "responses": good | INFRASTRUCTURE[path]}


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": REFS.format(name=kind.__name__)}


def _request(kind: type[msgspec.Struct]) -> str:
    return f"{kind.__name__}Request"
