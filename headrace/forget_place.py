"""What a place that knows an entity can do, with its way to find it and to erase it."""

from __future__ import annotations

from typing import Protocol

from stream.mention import Mention


class Place(Protocol):
    """Somewhere an entity may be known. Repeats of both calls do no harm; each finds all that its own events tell."""

    name: str
    is_held: bool
    """Whether nobody else writes there meanwhile: one erasure is enough."""

    def search(self, mention: Mention) -> int:
        """How much is about the entity; notes its events. Changes nothing."""

    def erase(self, mention: Mention) -> int:
        """Erase what is about the entity, as far as it is there now; how much it was."""
