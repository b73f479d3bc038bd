"""What `feature_store.yaml` and the definitions read from the environment; it does not import Feast (5 s)."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from features.declared import FEATURE_SETS


def environment(home: Path, redis_url: str) -> dict[str, str]:
    """The variables for a home and a Redis; Feast's key expiry is that of our worker: the longest history."""
    parts = urlsplit(redis_url)
    connection = f"{parts.hostname}:{parts.port or 6379},db={parts.path.strip('/') or 0}"
    if parts.password:
        connection += f",password={unquote(parts.password)}"
    if parts.username:
        connection += f",username={unquote(parts.username)}"
    if parts.scheme == "rediss":
        # The files for it are named in the URL as redis-py names them, which Feast hands them to.
        connection += "".join([",ssl=true", *(f",{name}={path}" for name, path in parse_qsl(parts.query))])
    horizon_us = max(view.horizon_us for feature_set in FEATURE_SETS.values() for view in feature_set.views)
    return {
        "HEADRACE_FEAST_REGISTRY": str((home / "registry.db").resolve()),
        "HEADRACE_FEAST_REDIS": connection,
        "HEADRACE_FEAST_KEY_TTL_S": str(horizon_us // 1_000_000),
        "HEADRACE_FEAST_STATES": str((home / "states").resolve()),
        "FEAST_USAGE": "False",
    }


def exports(home: Path, redis_url: str) -> str:
    """The same as lines for a shell. The trap: they hold the Redis password, if there is one."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment(home, redis_url).items())
