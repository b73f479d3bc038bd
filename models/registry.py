"""Artifacts and which of them is in use: BentoML's model store, a manifest in each, and the alias log beside it.

With `BENTOML_HOME` set to the registry's directory, `bentoml models list` shows the same artifacts. Only `register`
imports BentoML (seconds); reading for scoring goes by the store's layout, `models/<name>/<version>/`.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from models.aliases import ALIASES, SHARES, Alias, AliasChange, AliasLog, Canary, canary_of, champions
from models.manifest import Manifest
from models.onnx import OnnxModel
from models.shap import ShapModel

ARTIFACT = "model.onnx"
MANIFEST = "manifest.json"
BENTOML_FILE = "model.yaml"
FOR_A_ROLLBACK = 2

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")


class ModelNotFound(LookupError):
    """There is no such model, version or alias. A retry helps once somebody has trained or promoted one."""


class Registry:
    """The models of one installation, in one directory.

    Parameters
    ----------
    directory
        Holds `models/` (BentoML's store) and `aliases.jsonl`. Made when first written to; two runs with two
        directories do not meet.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._aliases = AliasLog(self.directory / "aliases.jsonl")

    def register(self, onnx_bytes: bytes, manifest: Manifest) -> str:
        """Store an artifact for good and return its version; no alias changes.

        The version is the manifest's, or its creation time and the digest of the bytes. Registering the same again
        changes nothing. Raises `InvalidArtifact` when it cannot be served, `ValueError` when the name cannot be a
        name, or the version exists with other bytes.
        """
        digest = sha256(onnx_bytes).hexdigest()[:8]
        version = manifest.version or f"{manifest.created_at.astimezone(UTC):%Y%m%d-%H%M%S}-{digest}"
        manifest = msgspec.structs.replace(manifest, version=version)
        OnnxModel(onnx_bytes, manifest)
        path = self.path(manifest.name, version)
        if _is_complete(path):
            if (path / ARTIFACT).read_bytes() != onnx_bytes:
                raise ValueError(f"model {manifest.name!r} has another version {version!r}; leave the version empty")
            return version
        self._store(onnx_bytes, manifest, manifest.to_json())
        return version

    def adopt(self, onnx_bytes: bytes, manifest_bytes: bytes) -> Manifest:
        """Store a version of another registry byte by byte, under its own name and version; its manifest.

        Adopting the same again changes nothing. Raises `ValueError` when the manifest is none, has no version, or this
        registry has that version with other bytes; `InvalidArtifact` as `register`.
        """
        manifest = Manifest.from_json(manifest_bytes)
        path = self.path(manifest.name, manifest.version)
        OnnxModel(onnx_bytes, manifest)
        if not _is_complete(path):
            self._store(onnx_bytes, manifest, manifest_bytes)
        elif self.content(manifest.name, manifest.version) != (onnx_bytes, manifest_bytes):
            raise ValueError(
                f"model {manifest.name!r} has a version {manifest.version!r} here already, with other bytes; "
                "compare the two: one of them is not what it says"
            )
        return manifest

    def content(self, name: str, version: str) -> tuple[bytes, bytes]:
        """The bytes of the artifact and of its manifest, as they are stored. Raises `ModelNotFound`."""
        self.manifest(name, version)
        path = self.path(name, version)
        return (path / ARTIFACT).read_bytes(), (path / MANIFEST).read_bytes()

    def alias(
        self,
        name: str,
        alias: Alias,
        version: str | None,
        *expected: str | None,
        by: str = "",
        why: str = "",
        at: datetime | None = None,
        gates: Mapping[str, str] | None = None,
        forced: Sequence[str] = (),
        share: int = 0,
    ) -> None:
        """Let an alias mean a version from now on (None: nothing any more).

        A new `champion` makes the one before it `previous`; a `canary` needs the `share` of the entities that it
        answers. Where an `expected` version is given, the alias must mean it still. Raises `ModelNotFound` when the
        version is not registered, `AliasMoved` when somebody was faster.
        """
        if alias not in ALIASES:
            raise ValueError(f"alias {alias!r} is unknown; use one of {', '.join(ALIASES)}")
        allowed = SHARES if alias == "canary" and version is not None else (0,)
        if share not in allowed:
            shown = ", ".join(map(str, allowed))
            raise ValueError(f"alias {alias!r} of {version or 'nothing'} has the share {share}%; allowed are {shown}")
        if version is not None:
            self.manifest(name, version)
        change = AliasChange(
            at=datetime.now(UTC) if at is None else at,
            alias=alias,
            name=name,
            version=version,
            by=by,
            why=why,
            gates=dict(gates or {}),
            forced=list(forced),
            share=share,
        )
        self._aliases.move(change, *expected)

    def before(self, name: str) -> str:
        """The champion before the present one: what a rollback returns to. Raises `ModelNotFound`."""
        found = champions(self._aliases.changes(), name)
        if self._aliases.current(name).get("champion") is None:
            found.append("")  # the last champion was taken away: it is the one before
        if len(found) < FOR_A_ROLLBACK:
            raise ModelNotFound(f"model {name!r} had no champion before this one; promote a version instead")
        return found[-2]

    def rollback(
        self, name: str, *expected: str | None, by: str = "", why: str = "", at: datetime | None = None
    ) -> str:
        """Make the champion before the present one champion again; its version. Raises `ModelNotFound`, `AliasMoved`.

        What was rolled back is not returned to: another rollback goes one champion further back. Where an `expected`
        version is given, the champion must be that one still.
        """
        present, version = self._aliases.current(name).get("champion"), self.before(name)
        present = expected[0] if expected else present
        self.manifest(name, version)
        at = datetime.now(UTC) if at is None else at
        change = AliasChange(at=at, alias="champion", name=name, version=version, by=by, why=why, rollback=True)
        self._aliases.move(change, present)
        return version

    def aliases(self, name: str) -> dict[Alias, str]:
        """The version that each alias means now."""
        return self._aliases.current(name)

    def canary(self, name: str) -> Canary | None:
        """The version that answers a share of the entities in the champion's place, if there is one."""
        return canary_of(self._aliases.changes(), name)

    def history(self, name: str) -> list[AliasChange]:
        """Every change of an alias of this model, oldest first."""
        return [change for change in self._aliases.changes() if change.name == name]

    def resolve(self, name: str, alias: Alias = "champion") -> str:
        """The version that the alias means. Raises `ModelNotFound` when it means none."""
        version = self._aliases.current(name).get(alias)
        if version is not None:
            return version
        if self.versions(name):
            raise ModelNotFound(f"model {name!r} has no {alias}; run 'headrace models promote {name}'")
        raise self._no_model(name)

    def load(self, name: str, version: str) -> OnnxModel:
        """The model, warm and ready to score. Raises `ModelNotFound` or `InvalidArtifact`."""
        return OnnxModel(self.path(name, version) / ARTIFACT, self.manifest(name, version))

    def read(self, name: str, version: str) -> ShapModel:
        """The model in the form that says what its score is made of. Raises `ModelNotFound` or `NotExplainable`."""
        manifest = self.manifest(name, version)
        return ShapModel(self.path(name, version) / ARTIFACT, manifest)

    def manifest(self, name: str, version: str) -> Manifest:
        """What is known of this version. Raises `ModelNotFound`."""
        path = self.path(name, version)
        if _is_complete(path):
            return Manifest.from_json((path / MANIFEST).read_bytes())
        if versions := self.versions(name):
            raise ModelNotFound(f"model {name!r} has no version {version!r}; the newest is {versions[-1]!r}")
        raise self._no_model(name)

    def names(self) -> list[str]:
        """The models that have at least one version."""
        store = self.directory / "models"
        return sorted(path.name for path in store.iterdir() if self.versions(path.name)) if store.is_dir() else []

    def versions(self, name: str) -> list[str]:
        """The versions of the model, oldest first; empty when there is none."""
        folder = self.directory / "models" / _checked(name)
        found = [path for path in folder.glob("*") if _is_complete(path)]
        created = {path.name: Manifest.from_json((path / MANIFEST).read_bytes()).created_at for path in found}
        return sorted(created, key=lambda version: (created[version], version))

    def path(self, name: str, version: str) -> Path:
        """Where BentoML's store keeps this version, whether it exists or not."""
        return self.directory / "models" / _checked(name) / _checked(version)

    def _store(self, onnx_bytes: bytes, manifest: Manifest, manifest_bytes: bytes) -> None:
        # What a crash left of an earlier try; BentoML would refuse.
        shutil.rmtree(self.path(manifest.name, manifest.version), ignore_errors=True)
        # Read when BentoML is imported: otherwise it reports each saved model to its makers.
        os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # BentoML 1.4's own use of pathspec
            import bentoml.models
            from bentoml._internal.models import ModelStore

        store = self.directory / "models"
        store.mkdir(parents=True, exist_ok=True)
        labels = {"definition_hash": manifest.definition_hash, "family": manifest.family or "unknown"}
        tag = f"{manifest.name}:{manifest.version}"
        with bentoml.models.create(tag, labels=labels, _model_store=ModelStore(store)) as model:
            Path(model.path_of(ARTIFACT)).write_bytes(onnx_bytes)
            Path(model.path_of(MANIFEST)).write_bytes(manifest_bytes)

    def _no_model(self, name: str) -> ModelNotFound:
        return ModelNotFound(f"no model {name!r} in the registry; run 'headrace train {name}'")


def _is_complete(path: Path) -> bool:
    return all((path / part).exists() for part in (ARTIFACT, MANIFEST, BENTOML_FILE))


def _checked(part: str) -> str:
    if not _NAME.fullmatch(part):
        raise ValueError(f"{part!r} cannot name a model or version; use up to 63 of a-z 0-9 _ . - inside a-z 0-9")
    return part
