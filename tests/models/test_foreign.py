from __future__ import annotations

import json
from typing import Any

import pytest

from models.foreign import OBLIGATORY, InvalidManifest, read_foreign

WHOLE: dict[str, Any] = {
    "name": "fraud",
    "created_at": "2026-02-01T00:00:00Z",
    "family": "xgboost",
    "feature_names": ["a", "b"],
    "definition_hash": "h",
    "window_start": "2026-01-01T00:00:00Z",
    "window_end": "2026-01-24T00:00:00Z",
    "label_cutoff": "2026-01-31T00:00:00Z",
    "git_revision": "abc",
    "parameters": {"max_depth": 6},
    "metrics": {"auc": 0.9},
    "max_onnx_difference": 0.0,
}


def read(**changes: Any) -> Any:
    return read_foreign(json.dumps(WHOLE | changes).encode())


def test_a_whole_manifest_is_read() -> None:
    assert read().feature_names == ("a", "b")


@pytest.mark.parametrize("field", OBLIGATORY)
def test_each_field_that_is_missing_is_named(field: str) -> None:
    with pytest.raises(InvalidManifest, match=f"lacks {field} "):
        read(**{field: None})


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidManifest, match=r"definition_hash.*; metrics"):
        read(metrics={}, definition_hash="")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "has 'colour'; it may have name"),
        ({"window_end": "2026-02-24T00:00:00Z"}, "are not in this order"),
        ({"window_start": "2026-01-01T00:00:00"}, "window_start 2026-01-01 00:00:00 has no zone"),
        ({"feature_names": ["a", "a"]}, "a name is twice"),
        ({"metrics": {"auc": "good"}}, r"Expected `float \| null`"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidManifest, match=words):
        read(**changes)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidManifest, match="the manifest is"):
        read_foreign(content)
