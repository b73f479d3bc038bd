"""The manifest of a model that was made elsewhere: what nobody can add later must be in it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from models.manifest import Manifest

OBLIGATORY = {
    "name": "the use case, such as fraud",
    "created_at": "when it was made, with a zone",
    "family": "what kind of model it is",
    "feature_names": "the features in the order in which the artifact takes them",
    "definition_hash": "of the features; 'headrace features show NAME' prints it",
    "window_start": "event time of the first row that it was fitted on",
    "window_end": "event time of the last one",
    "label_cutoff": "labels that became known later were not used",
    "git_revision": "of the code that made it",
    "parameters": "what it was fitted with",
    "metrics": "how good it was on later rows",
    "max_onnx_difference": "largest difference in probability to the library's own answer, at most 1e-5",
}
"""What such a manifest must have, and what each is."""


class InvalidManifest(ValueError):
    """The manifest lacks something or contradicts itself. It names each field."""


def read_foreign(content: bytes) -> Manifest:
    """Read a manifest that people wrote, strictly. Raises `InvalidManifest` with all that is missing, not the first."""
    try:
        given = msgspec.json.decode(content)
    except msgspec.MsgspecError as error:
        raise InvalidManifest(f"the manifest is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidManifest(f"the manifest is a {type(given).__name__}; write an object with {', '.join(OBLIGATORY)}")
    missing = [f"{name} ({what})" for name, what in OBLIGATORY.items() if given.get(name) in (None, "", [], {})]
    if missing:
        raise InvalidManifest(f"the manifest lacks {'; '.join(missing)}")
    if unknown := sorted(set(given) - set(Manifest.__struct_fields__)):
        raise InvalidManifest(f"the manifest has {unknown[0]!r}; it may have {', '.join(Manifest.__struct_fields__)}")
    try:
        manifest = Manifest.from_json(content)
    except msgspec.MsgspecError as error:
        raise InvalidManifest(f"the manifest cannot be used: {error}") from None
    times: dict[str, datetime] = {
        name: getattr(manifest, name) for name in ("window_start", "window_end", "label_cutoff", "created_at")
    }
    if without := [name for name, at in times.items() if at.tzinfo is None]:
        raise InvalidManifest(f"the manifest: {without[0]} {times[without[0]]} has no zone; add Z or +00:00")
    if not manifest.window_start <= manifest.window_end <= manifest.label_cutoff:
        raise InvalidManifest(
            f"the manifest: window_start {manifest.window_start}, window_end {manifest.window_end} and label_cutoff "
            f"{manifest.label_cutoff} are not in this order"
        )
    if len(set(manifest.feature_names)) != len(manifest.feature_names):
        raise InvalidManifest("the manifest: a name is twice in feature_names; each feature has one place")
    return manifest
