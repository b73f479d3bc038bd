"""What `/docs.json` says of keys: how one is sent, which scope a path asks for, and the answers of the gate."""

from __future__ import annotations

from typing import Any

from scoring.key_scopes import Ask, asked_by

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `hr_<id>_<secret>`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in another header."},
}
REFUSALS: dict[int, tuple[str, dict[str, str]]] = {
    401: (
        "With keys switched on: there is none, or it is not taken.",
        {
            "error": "unauthorised",
            "message": "an API key is missing; send 'Authorization: Bearer hr_<id>_<secret>'",
            "remedy": "send 'Authorization: Bearer hr_<id>_<secret>'",
        },
    ),
    403: (
        "The key lacks the scope that this path asks for.",
        {
            "error": "forbidden",
            "message": "key 0123456789ab lacks the scope fraud:score that this path asks for",
            "value": "fraud:score",
            "remedy": "use a key with --scope fraud:score",
        },
    ),
    429: (
        "The key's rate is used up: send it again after `Retry-After` seconds.",
        {
            "error": "too many requests",
            "message": "key 0123456789ab may make 10 requests/s and 20 at once; wait 1 s, then send it again",
            "remedy": "wait 1 s, then send it again",
        },
    ),
    503: (
        "The keys could not be read yet: send it again after `Retry-After` seconds.",
        {"error": "keys not read", "message": "the API keys could not be read yet: Redis did not answer; try again"},
    ),
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
CHALLENGE = {"WWW-Authenticate": {"description": "How a key is sent.", "schema": {"type": "string"}}}
HEADERS: dict[int, dict[str, Any]] = {401: CHALLENGE, 429: RETRY_AFTER, 503: RETRY_AFTER}


def secured(document: dict[str, Any], refusal: dict[str, str]) -> dict[str, Any]:
    """The document with keys in every operation that asks for one; `refusal` refers to the schema of a refusal."""
    paths = {
        path: {method: _secured(operation, path, method, refusal) for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    components = {**document["components"], "securitySchemes": SCHEMES}
    return {**document, "paths": paths, "components": components}


def _secured(operation: dict[str, Any], path: str, method: str, refusal: dict[str, str]) -> dict[str, Any]:
    asked = asked_by(path, method.upper())
    if asked is Ask.NOTHING:
        return {**operation, "security": []}
    needs = "any key" if asked is Ask.ANY_KEY else f"a key with the scope `{asked}`"
    said = f"{operation.get('description', '')} With keys switched on it needs {needs}.".strip()
    found = {
        str(status): {"description": words, "content": {"application/json": {"schema": refusal, "example": example}}}
        | ({"headers": HEADERS[status]} if status in HEADERS else {})
        for status, (words, example) in REFUSALS.items()
    }
    # `{}`: where keys are switched off nobody needs one.
    security: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {}]
    return {**operation, "description": said, "security": security, "responses": found | operation["responses"]}
