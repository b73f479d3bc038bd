"""The rooms import one way, and each third-party system is known by the files that may know it."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "stream": set(),
    "models": set(),
    "features": {"stream"},
    "scoring": {"features", "models", "stream"},
    "review": {"stream"},
    "training": {"scoring", "features", "models", "stream"},
    "feature_repo": {"features"},
}
ROOMS = {*MAY_IMPORT, "bench", "headrace"}
ENTRY_POINTS = {"scoring/service.py"}
KNOWN_BY = {
    "kafka": {"stream/kafka_client.py", "stream/kafka_log.py", "stream/kafka_member.py"},
    "feast": {"feature_repo/definitions.py", "feature_repo/repository.py"},
    "onnxruntime": {"models/onnx.py"},
    "faiss": {"models/item_search.py"},
    "onnx": {"models/lightgbm_onnx.py", "models/shap.py"},
    "lightgbm": {"training/lightgbm_trees.py"},
    "mlflow": {"training/mlflow_store.py"},
    "river": {"models/change_point.py", "models/online.py"},
    "bentoml": {"scoring/service.py", "models/registry.py"},
    "_bentoml_sdk": {"scoring/front_door.py"},
    "apprise": {"review/alert_apprise.py"},
    "argon2": {"review/passwords.py"},
    "jwt": {"review/oidc_token.py"},
    "opentelemetry": {"scoring/traces.py"},
}


@cache
def imports_of(path: Path) -> set[str]:
    """The first part of every module that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_before_it(room: str) -> None:
    for path in files_of(room):
        if path.relative_to(ROOT).as_posix() not in ENTRY_POINTS:
            rooms = imports_of(path) & ROOMS - {room}
            assert rooms <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {rooms - MAY_IMPORT[room]}"


@pytest.mark.parametrize("system", KNOWN_BY)
def test_a_third_party_system_is_known_by_its_own_files(system: str) -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS - {"bench"}
        for path in files_of(room)
        if system in imports_of(path)
    }
    assert knowing == KNOWN_BY[system]


SCORER = """
import importlib, pathlib, sys
for path in sorted(pathlib.Path("scoring").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
found = {name.partition(".")[0] for name in sys.modules}
assert "bentoml" in found and "onnxruntime" in found, "the service is not imported"
print(" ".join(sorted(found & {"lightgbm", "mlflow", "sklearn", "skl2onnx", "training"})))
"""


WATCHER = """
import sys
import headrace.watch
found = {name.partition(".")[0] for name in sys.modules}
assert "onnxruntime" in found, "the watcher is not imported"
print(" ".join(sorted(found & {"lightgbm", "mlflow", "numba", "pandas", "sklearn", "skl2onnx"})))
"""


@pytest.mark.parametrize("program", [pytest.param(SCORER, id="scorer"), pytest.param(WATCHER, id="watcher")])
def test_what_serves_or_watches_never_imports_what_trains(program: str) -> None:
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        check=True,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert said.stdout.split() == []


def test_the_feast_repo_has_no_module_named_like_a_room() -> None:
    assert not {path.stem for path in files_of("feature_repo")} & ROOMS
