from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.manifest import Manifest
from models.onnx import InvalidArtifact
from models.onnx_export import export
from models.registry import ModelNotFound, Registry

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MANIFEST = Manifest(
    name="fraud",
    created_at=NOON,
    family="logistic_regression",
    feature_names=("a", "b"),
    definition_hash="h",
    window_start=NOON - timedelta(days=30),
    window_end=NOON - timedelta(days=7),
    label_cutoff=NOON,
)


@pytest.fixture(scope="module")
def artifact() -> bytes:
    X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    return export(LogisticRegression().fit(X, [0, 0, 1, 1]), X).content


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def after(days: int) -> Manifest:
    return msgspec.structs.replace(MANIFEST, created_at=NOON + timedelta(days=days))


def test_what_was_registered_loads_with_its_manifest(registry: Registry, artifact: bytes) -> None:
    version = registry.register(artifact, MANIFEST)
    model = registry.load("fraud", version)
    assert model.manifest == msgspec.structs.replace(MANIFEST, version=version)
    assert model.score_one(np.array([3.0, 3.0])) > 0.5


def test_bentoml_finds_the_artifact_where_we_read_it(registry: Registry, artifact: bytes) -> None:
    version = registry.register(artifact, MANIFEST)
    import bentoml
    from bentoml._internal.models import ModelStore

    found = bentoml.models.get(f"fraud:{version}", _model_store=ModelStore(registry.directory / "models"))
    assert Path(found.path) == registry.path("fraud", version)
    assert found.info.labels["definition_hash"] == "h"


def test_an_artifact_is_read_for_scoring_without_bentoml(registry: Registry, artifact: bytes) -> None:
    registry.alias("fraud", "champion", registry.register(artifact, MANIFEST))
    code = (
        "import sys, numpy; from models.registry import Registry; r = Registry(sys.argv[1]);"
        "print(r.load('fraud', r.resolve('fraud')).score_one(numpy.zeros(2)) < 0.5, 'bentoml' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(registry.directory)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["True", "False"]


def test_registering_the_same_again_changes_nothing(registry: Registry, artifact: bytes) -> None:
    assert registry.register(artifact, MANIFEST) == registry.register(artifact, MANIFEST)
    assert len(registry.versions("fraud")) == 1


def test_what_a_crash_left_half_written_is_no_version_and_can_be_registered_again(
    registry: Registry, artifact: bytes
) -> None:
    version = registry.register(artifact, MANIFEST)
    (registry.path("fraud", version) / "model.onnx").unlink()
    assert registry.versions("fraud") == []
    assert registry.register(artifact, MANIFEST) == version
    assert registry.versions("fraud") == [version]


def test_a_version_cannot_change(registry: Registry, artifact: bytes) -> None:
    named = msgspec.structs.replace(MANIFEST, version="v1")
    registry.register(artifact, named)
    other = export(LogisticRegression().fit([[0.0, 0.0], [1.0, 1.0]], [1, 0]), np.zeros((1, 2))).content
    with pytest.raises(ValueError, match="has another version 'v1'"):
        registry.register(other, named)


def test_versions_are_listed_oldest_first(registry: Registry, artifact: bytes) -> None:
    late, early = (registry.register(artifact, after(days)) for days in (2, 1))
    assert registry.versions("fraud") == [early, late]
    assert registry.names() == ["fraud"]


def test_two_registries_do_not_meet(tmp_path: Path, artifact: bytes) -> None:
    Registry(tmp_path / "one").register(artifact, MANIFEST)
    assert Registry(tmp_path / "two").versions("fraud") == []


def test_promotion_remembers_the_champion_before(registry: Registry, artifact: bytes) -> None:
    first, second = (registry.register(artifact, after(days)) for days in (1, 2))
    registry.alias("fraud", "champion", first, by="ann", why="the first")
    registry.alias("fraud", "champion", second, by="ann", why="better")
    assert registry.aliases("fraud") == {"champion": second, "previous": first}


def test_rolling_back_is_making_the_previous_one_champion(registry: Registry, artifact: bytes) -> None:
    first, second = (registry.register(artifact, after(days)) for days in (1, 2))
    for version in (first, second, first):
        registry.alias("fraud", "champion", version)
    assert registry.aliases("fraud") == {"champion": first, "previous": second}


def test_promoting_the_champion_again_keeps_the_previous_one(registry: Registry, artifact: bytes) -> None:
    first, second = (registry.register(artifact, after(days)) for days in (1, 2))
    for version in (first, second, second):
        registry.alias("fraud", "champion", version)
    assert registry.resolve("fraud", "previous") == first


def test_a_shadow_can_be_taken_away(registry: Registry, artifact: bytes) -> None:
    registry.alias("fraud", "shadow", registry.register(artifact, MANIFEST))
    registry.alias("fraud", "shadow", None)
    assert registry.aliases("fraud") == {}


def test_the_history_tells_who_and_why(registry: Registry, artifact: bytes) -> None:
    registry.alias("fraud", "champion", registry.register(artifact, MANIFEST), by="ann", why="won", at=NOON)
    (change,) = registry.history("fraud")
    assert (change.at, change.by, change.why) == (NOON, "ann", "won")


def test_a_line_torn_by_a_crash_hides_no_other(registry: Registry, artifact: bytes) -> None:
    version = registry.register(artifact, MANIFEST)
    registry.alias("fraud", "champion", version)
    with (registry.directory / "aliases.jsonl").open("ab") as file:
        file.write(b'{"at":"2026-01-31T12:00')
    assert registry.resolve("fraud") == version
    registry.alias("fraud", "shadow", version)
    assert registry.aliases("fraud") == {"champion": version, "shadow": version}


def test_no_model_says_how_to_get_one(registry: Registry) -> None:
    with pytest.raises(ModelNotFound, match="no model 'fraud' in the registry; run 'headrace train fraud'"):
        registry.resolve("fraud")


def test_no_champion_says_how_to_get_one(registry: Registry, artifact: bytes) -> None:
    registry.register(artifact, MANIFEST)
    with pytest.raises(ModelNotFound, match="no champion; run 'headrace models promote fraud'"):
        registry.resolve("fraud")


def test_an_alias_cannot_mean_a_version_that_is_not_there(registry: Registry, artifact: bytes) -> None:
    registry.register(artifact, MANIFEST)
    with pytest.raises(ModelNotFound, match="no version 'nine'"):
        registry.alias("fraud", "champion", "nine")


def test_what_cannot_serve_is_not_registered(registry: Registry) -> None:
    with pytest.raises(InvalidArtifact):
        registry.register(b"nothing", MANIFEST)
    assert registry.versions("fraud") == []


@pytest.mark.parametrize("name", ["../etc", "Fraud", "a/b", "", "x" * 64])
def test_a_name_cannot_lead_out_of_the_store(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a model"):
        registry.versions(name)
