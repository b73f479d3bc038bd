"""What a key may do: scopes, each an area and a verb, and the scope that each path of the service asks for.

A path that is named here by nobody is answered by nobody while keys are asked for: a new route is shut until it has its
line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum

from scoring.use_case import USE_CASES


class Ask(Enum):
    """What a path asks for where it is no scope."""

    NOTHING = "nothing"
    ANY_KEY = "any key"


Asked = str | Ask

SCOPES = frozenset(
    {"events:write", "labels:write", "metrics:read", "items:write", "recommendation:read", "recommendation:write"}
    | {f"{name}:{verb}" for name in USE_CASES for verb in ("score", "read")}
)
"""Every scope there is."""
READ = "fraud:read"
"""Of decisions and explanations: their paths name no use case, and one service answers for one."""
PATHS: dict[str, Asked] = {
    "/livez": Ask.NOTHING,
    "/readyz": Ask.NOTHING,
    "/healthz": Ask.NOTHING,
    "/events": "events:write",
    "/labels": "labels:write",
    "/metrics": "metrics:read",
    "/recommend": "recommendation:read",
    "/trending": "recommendation:read",
    "/feedback": "recommendation:write",
    "/items": "items:write",
    "/": Ask.ANY_KEY,
    "/docs.json": Ask.ANY_KEY,
    "/schema.json": Ask.ANY_KEY,
    **{f"/{name}/score{more}": f"{name}:score" for name in USE_CASES for more in ("", "/batch")},
}
BATCHES = frozenset(f"/{name}/score/batch" for name in USE_CASES)
PREFIXES: tuple[tuple[str, Asked], ...] = (
    ("/decisions/", READ),
    ("/explanations/", READ),
    ("/similar/", "recommendation:read"),
    ("/items/", "items:write"),
    ("/static_content/", Ask.ANY_KEY),
)
READ_ONLY: dict[str, Asked] = {"/items/": "recommendation:read"}
"""What a GET asks for, of prefixes where everything else asks for more."""


class InvalidScope(ValueError):
    """A text that is no scope, or one that no path asks for."""


def asked_by(path: str, method: str = "") -> Asked | None:
    """What a path asks for; None for a path that the service does not have.

    >>> asked_by("/fraud/score"), asked_by("/decisions/tx-1"), asked_by("/livez"), asked_by("/secret")
    ('fraud:score', 'fraud:read', <Ask.NOTHING: 'nothing'>, None)
    >>> asked_by("/items/i-1", "PUT"), asked_by("/items/i-1", "GET")
    ('items:write', 'recommendation:read')
    """
    found = PATHS.get(path)
    if found is None:
        for prefix, asked in PREFIXES:
            if path.startswith(prefix):
                return READ_ONLY.get(prefix, asked) if method == "GET" else asked
    return found


def allowed_by(patterns: Iterable[str]) -> frozenset[str]:
    """Every scope that one of these covers. What no longer exists, or does not yet, covers nothing.

    >>> sorted(allowed_by(["fraud:*", "*:write"]))
    ['events:write', 'fraud:read', 'fraud:score', 'items:write', 'labels:write', 'recommendation:write']
    """
    return frozenset(scope for scope in SCOPES if any(_covers(pattern, scope) for pattern in patterns))


def check_scope(pattern: str) -> str:
    """The pattern, if it covers anything. Raises `InvalidScope` naming the nearest.

    >>> check_scope("fraud:scored")
    Traceback (most recent call last):
    scoring.key_scopes.InvalidScope: scope 'fraud:scored' covers nothing; did you mean 'fraud:score'?
    """
    if allowed_by([pattern]):
        return pattern
    near = difflib.get_close_matches(pattern, sorted(SCOPES), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(SCOPES))}, and * for either part"
    raise InvalidScope(f"scope {pattern!r} covers nothing; {hint}")


def _covers(pattern: str, scope: str) -> bool:
    area, colon, verb = pattern.partition(":")
    its_area, _, its_verb = scope.partition(":")
    return bool(colon) and area in ("*", its_area) and verb in ("*", its_verb)
