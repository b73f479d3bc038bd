"""What a model says of itself that was fitted on nothing that matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from models.manifest import Manifest

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def made_up(name: str, feature_names: Sequence[str], definition_hash: str = "h", **more: Any) -> Manifest:
    """The manifest of a version `v1`, unless `more` fields say otherwise, all of whose rows are of one moment."""
    usual: dict[str, Any] = {"name": name, "version": "v1", "definition_hash": definition_hash}
    usual |= {"feature_names": tuple(feature_names)}
    usual |= dict.fromkeys(("created_at", "window_start", "window_end", "label_cutoff"), AT)
    return Manifest(**usual | more)
