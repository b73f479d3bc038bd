"""Who may move an alias, and what a rollback returns to."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.aliases import AliasChange, AliasLog, AliasMoved, champions
from models.manifest import Manifest
from models.onnx_export import export
from models.registry import ModelNotFound, Registry
from tests.models.test_registry import MANIFEST, NOON

X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
PROMOTER = """
import sys, time
from models.aliases import AliasMoved
from models.registry import Registry
registry, version = Registry(sys.argv[1]), sys.argv[2]
champion = registry.aliases("fraud").get("champion")
print("judged", flush=True)
sys.stdin.readline()
try:
    registry.alias("fraud", "champion", version, champion, by=version)
except AliasMoved as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry")
    content = export(LogisticRegression().fit(X, [0, 0, 1, 1]), X).content
    for version in ("a", "b", "c", "d"):
        Registry(directory).register(content, msgspec.structs.replace(MANIFEST, version=version))
    return directory


@pytest.fixture
def registry(stored: Path) -> Registry:
    (stored / "aliases.jsonl").unlink(missing_ok=True)
    return Registry(stored)


def promote(registry: Registry, *versions: str) -> None:
    for version in versions:
        registry.alias("fraud", "champion", version)


def test_of_promoters_that_judged_the_same_champion_one_wins_and_the_others_are_told(registry: Registry) -> None:
    promote(registry, "a")
    command = [sys.executable, "-c", PROMOTER, str(registry.directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    racing = {v: subprocess.Popen([*command, v], **pipes) for v in ("b", "c", "d")}  # type: ignore[call-overload]
    for process in racing.values():
        assert process.stdout.readline() == "judged\n"
    for process in racing.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = {version: (process.communicate(timeout=240)[1], process.returncode) for version, process in racing.items()}
    (winner,) = (version for version, (_, status) in ended.items() if status == 0)
    assert registry.aliases("fraud") == {"champion": winner, "previous": "a"}
    for version, (said, _) in ended.items():
        if version != winner:
            assert f"the champion of 'fraud' is {winner}, moved by {winner}" in said
            assert f"was a when {version} was compared with it; nothing was changed" in said
    assert [change.alias for change in registry.history("fraud")].count("champion") == 2


def test_a_first_champion_that_somebody_else_made_meanwhile_stays(registry: Registry) -> None:
    promote(registry, "a")
    with pytest.raises(AliasMoved, match="and was nothing when b was compared"):
        registry.alias("fraud", "champion", "b", None)
    assert registry.resolve("fraud") == "a"


def test_rolling_back_twice_goes_two_champions_back_and_never_forward(registry: Registry) -> None:
    promote(registry, "a", "b", "c")
    assert registry.rollback("fraud", by="ann", why="refunds go wrong") == "b"
    assert registry.aliases("fraud") == {"champion": "b", "previous": "a"}
    assert registry.rollback("fraud") == "a"
    assert registry.aliases("fraud") == {"champion": "a"}
    with pytest.raises(ModelNotFound, match="had no champion before this one"):
        registry.rollback("fraud")
    change = next(one for one in registry.history("fraud") if one.rollback)
    assert (change.version, change.by, change.why) == ("b", "ann", "refunds go wrong")


def test_after_a_rollback_and_a_promotion_the_way_back_is_the_one_that_was_served(registry: Registry) -> None:
    promote(registry, "a", "b")
    registry.rollback("fraud")
    promote(registry, "c")
    assert registry.aliases("fraud")["previous"] == "a"
    assert registry.rollback("fraud") == "a"


def test_a_champion_that_was_taken_away_comes_back_by_a_rollback(registry: Registry) -> None:
    promote(registry, "a", "b")
    registry.alias("fraud", "champion", None)
    assert registry.rollback("fraud") == "b"


def test_a_challenger_that_won_is_no_challenger_any_more(registry: Registry) -> None:
    promote(registry, "a")
    registry.alias("fraud", "challenger", "b")
    promote(registry, "b")
    assert registry.aliases("fraud") == {"champion": "b", "previous": "a"}


def test_lines_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "aliases.jsonl"
    path.write_text('{"at":"2026-01-31T12:00:00Z","alias":"champion","name":"fraud","version":"a","by":"x","why":""}\n')
    log = AliasLog(path)
    log.move(AliasChange(at=NOON, alias="champion", name="fraud", version="b", forced=["cost"]))
    assert champions(log.changes(), "fraud") == ["a", "b"]
    assert path.read_text().startswith('{"at":"2026-01-31T12:00:00Z","alias":"champion","name":"fraud","version":"a"')


def test_the_log_only_ever_grows(registry: Registry) -> None:
    path = registry.directory / "aliases.jsonl"
    before = b""
    for step in (
        lambda: promote(registry, "a", "b"),
        lambda: registry.rollback("fraud"),
        lambda: promote(registry, "c"),
    ):
        step()
        now = path.read_bytes()
        assert now.startswith(before)
        assert len(now) > len(before)
        before = now


def test_a_lock_that_another_process_holds_is_waited_for(registry: Registry) -> None:
    promote(registry, "a")
    hold = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", hold, str(registry.directory / "aliases.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiting = threading.Thread(target=promote, args=(registry, "b"))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        holder.communicate("go on\n", timeout=240)
        waiting.join(240)
    assert not waiting.is_alive()
    assert registry.aliases("fraud")["champion"] == "b"


def test_manifests_of_earlier_versions_load() -> None:
    old = (
        b'{"name":"fraud","version":"v","created_at":"2026-01-31T12:00:00Z","feature_names":["a"],'
        b'"definition_hash":"h","window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-24T00:00:00Z",'
        b'"label_cutoff":"2026-01-31T00:00:00Z","metrics":{"auc":0.9},"max_onnx_difference":1e-7}'
    )
    manifest = Manifest.from_json(old)
    assert (manifest.segments, manifest.calibration_error, manifest.max_onnx_difference) == ({}, None, 1e-7)
