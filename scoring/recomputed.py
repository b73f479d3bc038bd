"""What a replay of a logged decision found, field by field."""

from __future__ import annotations

from typing import Any

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of a decision: as logged, as recomputed, or why it could not be."""

    name: str
    logged: Any
    recomputed: Any = None
    unchecked: str = ""

    @property
    def differs(self) -> bool:
        """Whether it was recomputed, to something else. Floats are compared by their shortest exact text."""
        return not self.unchecked and msgspec.json.encode(self.logged) != msgspec.json.encode(self.recomputed)


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. `notes` say under which circumstances."""

    event_id: str
    entry: int
    fields: list[Field]
    notes: list[str]

    @property
    def differing(self) -> list[str]:
        """The names of fields that differ."""
        return [field.name for field in self.fields if field.differs]

    @property
    def unchecked(self) -> dict[str, str]:
        """Why fields were not checked, by name."""
        return {field.name: field.unchecked for field in self.fields if field.unchecked}
