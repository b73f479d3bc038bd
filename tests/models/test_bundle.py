"""One version as one file: the same on another machine, or a refusal that says what is wrong."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from models.bundle import InvalidBundle, read_bundle, write_bundle
from models.manifest import Calibration
from models.onnx import InvalidArtifact
from models.onnx_export import export
from models.registry import Registry
from tests.models.test_registry import MANIFEST

X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("here"))
    content = export(LogisticRegression().fit(X, [0, 0, 1, 1]), X).content
    registry.register(content, msgspec.structs.replace(MANIFEST, version="v1", calibration=Calibration(0.9, -0.1)))
    return registry


@pytest.fixture
def bundle(here: Registry, tmp_path: Path) -> Path:
    write_bundle(here, "fraud", "v1", tmp_path / "fraud.zip")
    return tmp_path / "fraud.zip"


@pytest.fixture
def there(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "there")


def parts_of(path: Path) -> Parts:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write(path: Path, parts: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in parts:
            opened.writestr(name, content)


def rehash(parts: Parts) -> Parts:
    hashes = json.loads(parts["hashes.json"])
    hashes["sha256"] = {name: sha256(parts[name]).hexdigest() for name in ("model.onnx", "manifest.json")}
    return {**parts, "hashes.json": json.dumps(hashes).encode()}


def test_in_another_home_it_has_the_same_bytes_and_says_the_same(here: Registry, there: Registry, bundle: Path) -> None:
    found = read_bundle(there, bundle)
    assert there.content("fraud", "v1") == here.content("fraud", "v1")
    artefact, manifest = there.content("fraud", "v1")
    assert found.sha256 == {"model.onnx": sha256(artefact).hexdigest(), "manifest.json": sha256(manifest).hexdigest()}
    rows = np.random.default_rng(0).normal(size=(50, 2))
    scores = [registry.load("fraud", "v1").score_many(rows).tolist() for registry in (here, there)]
    assert scores[0] == scores[1]
    assert there.aliases("fraud") == {}


def test_the_same_version_gives_the_same_file_and_imports_twice(here: Registry, there: Registry, bundle: Path) -> None:
    again = bundle.with_name("again.zip")
    digest = write_bundle(here, "fraud", "v1", again)
    assert again.read_bytes() == bundle.read_bytes()
    read_bundle(there, bundle, digest)
    read_bundle(there, again)
    assert there.versions("fraud") == ["v1"]


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Parts], list[tuple[str, bytes]]]:
    return lambda parts: list({**parts, name: change(parts[name])}.items())


TAMPERED: dict[str, tuple[Callable[[Parts], list[tuple[str, bytes]]], str]] = {
    "artefact": (changed("model.onnx", lambda old: old[:-1] + bytes([old[-1] ^ 1])), "model.onnx has the SHA-256"),
    "manifest": (changed("manifest.json", lambda old: old.replace(b'"h"', b'"g"')), "manifest.json has the SHA-256"),
    "hashes": (changed("hashes.json", lambda old: b"{}"), "hashes.json cannot be read"),
    "hash left out": (
        changed("hashes.json", lambda old: json.dumps({**json.loads(old), "sha256": {}}).encode()),
        "has no hash of model.onnx",
    ),
    "later format": (
        changed("hashes.json", lambda old: json.dumps({**json.loads(old), "format": 2}).encode()),
        "has the format 2",
    ),
    "other version": (
        lambda parts: list(
            rehash({**parts, "manifest.json": parts["manifest.json"].replace(b'"v1"', b'"v2"')}).items()
        ),
        "the manifest is of 'fraud' 'v2'",
    ),
    "no model, hashed": (lambda parts: list(rehash({**parts, "model.onnx": b"x"}).items()), "is not an ONNX file"),
    "one more entry": (lambda parts: [*parts.items(), ("x.pkl", b"")], "has 4 entries"),
    "path": (
        lambda parts: [("../../model.onnx" if n == "model.onnx" else n, c) for n, c in parts.items()],
        "has 3 entries",
    ),
    "one less": (lambda parts: list(parts.items())[:2], "has 2 entries"),
    "bomb": (changed("manifest.json", lambda old: b" " * (2 << 20)), "manifest.json is larger than 1,048,576 bytes"),
    "bad name": (
        lambda parts: list(
            rehash(
                {
                    "model.onnx": parts["model.onnx"],
                    "manifest.json": parts["manifest.json"].replace(b'"v1"', b'"../../v1"'),
                    "hashes.json": parts["hashes.json"].replace(b'"v1"', b'"../../v1"'),
                }
            ).items()
        ),
        "cannot name a model or version",
    ),
}


@pytest.mark.parametrize("tampered", TAMPERED)
def test_what_was_tampered_with_is_refused_and_nothing_is_written(there: Registry, bundle: Path, tampered: str) -> None:
    change, words = TAMPERED[tampered]
    write(bundle, change(parts_of(bundle)))
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        read_bundle(there, bundle)
    assert there.names() == []
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["fraud.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(there: Registry, bundle: Path) -> None:
    write(bundle, [*parts_of(bundle).items(), ("model.onnx", b"other")])
    with pytest.raises(InvalidBundle, match="has 4 entries"):
        read_bundle(there, bundle)


def test_a_file_that_was_replaced_whole_is_refused_by_its_hash(there: Registry, bundle: Path) -> None:
    digest = sha256(bundle.read_bytes()).hexdigest()
    parts = parts_of(bundle)
    write(bundle, list(rehash({**parts, "manifest.json": parts["manifest.json"].replace(b'"h"', b'"g"')}).items()))
    with pytest.raises(InvalidBundle, match="it was replaced"):
        read_bundle(there, bundle, digest)


def test_an_artefact_that_names_another_file_is_refused(there: Registry, bundle: Path) -> None:
    secret = bundle.with_name("fraud.bin")
    secret.write_bytes(np.array([0.25, 0.75], dtype=np.float32).tobytes())
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=str(secret))
    x, p = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("x", "p"))
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    nodes = [helper.make_node("ArgMax", ["x"], ["label"], keepdims=0), helper.make_node("Mul", ["x", "w"], ["p"])]
    graph = helper.make_graph(nodes, "g", [x], [label, p], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    write(bundle, list(rehash({**parts_of(bundle), "model.onnx": model.SerializeToString()}).items()))
    with pytest.raises(InvalidArtifact):
        read_bundle(there, bundle)
    assert there.names() == []


def test_broken_bytes_are_always_a_refusal(there: Registry, bundle: Path) -> None:
    whole, rng = bundle.read_bytes(), random.Random(0)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        bundle.write_bytes(bytes(broken[: rng.choice([len(broken), rng.randrange(len(broken))])]))
        try:
            read_bundle(there, bundle)
        except InvalidBundle:
            continue
        assert there.content("fraud", "v1")[0] == parts_of_bytes(whole)["model.onnx"]


def parts_of_bytes(content: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_a_version_that_is_there_with_other_bytes_stays_as_it_is(here: Registry, there: Registry, bundle: Path) -> None:
    other = export(LogisticRegression().fit(X, [1, 1, 0, 0]), X).content
    there.register(other, msgspec.structs.replace(MANIFEST, version="v1"))
    with pytest.raises(ValueError, match="has a version 'v1' here already, with other bytes"):
        read_bundle(there, bundle)
    assert there.content("fraud", "v1")[0] == other
