"""Whose turn it was to answer an event: by the alias log as it stood when the event was scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.aliases import AliasChange, canary_of
from scoring.canary_split import is_in, place_of


def asked(changes: Sequence[AliasChange], name: str, key: str, at: datetime) -> str:
    """The version of a model that an entity's event was given at a time: the champion, or the canary of that time.

    Empty where there was no champion. The log does not say that a canary was unfit for a while: what the champion left
    unanswered in its place is the canary's. Nor does it say when a scorer heard of a change: within a second.
    """
    so_far = [change for change in changes if change.name == name and change.at <= at]
    canary = canary_of(so_far, name)
    if canary is not None and is_in(place_of(name, key), canary.share):
        return canary.version
    return next((change.version or "" for change in reversed(so_far) if change.alias == "champion"), "")
