"""What is said where Gorse cannot be built. Programs of our own stand in for Go: no test builds Gorse."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.gorse_peer import NAMES, PACKAGE, PROGRAM, VERSION, binary, measure
from bench.peers import PeerMissing

REFUSES = "echo downloading >&2; echo 'reading the list: 403 Forbidden' >&2; exit 1"
BUILDS = f'echo "$@" >> "$GOBIN/../asked"; touch "$GOBIN/{PROGRAM}"'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def go_that(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `go` be a shell script of this text."""
    program = folder / "bin" / "go"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


def left_in(cache: Path) -> list[Path]:
    return list(cache.iterdir()) if cache.exists() else []


def test_without_go_it_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerMissing, match="no 'go' on the PATH"):
        binary(cache)


def test_a_refused_module_is_told_with_the_command_and_its_last_lines(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that(REFUSES, tmp_path, monkeypatch)
    with pytest.raises(PeerMissing) as caught:
        binary(cache)
    assert f"go install {PACKAGE}" in str(caught.value)
    assert str(caught.value).endswith("reading the list: 403 Forbidden")
    assert left_in(cache) == []


def test_a_build_that_hangs_is_given_up(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_that("exec sleep 60", tmp_path, monkeypatch)
    with pytest.raises(PeerMissing, match=r"had not ended after 0\.5 s"):
        binary(cache, timeout_s=0.5)
    assert left_in(cache) == []


def test_a_build_that_leaves_no_program_is_a_failure(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_that("exit 0", tmp_path, monkeypatch)
    with pytest.raises(PeerMissing, match=f"left no {PROGRAM}"):
        binary(cache)
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_told(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_that(BUILDS, tmp_path, monkeypatch)
    cache.write_text("a file, not a folder")
    with pytest.raises(PeerMissing, match="could not be kept in"):
        binary(cache)


def test_of_two_that_build_at_once_both_have_the_program(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = cache / f"gorse-{VERSION}"
    go_that(f'{BUILDS}; mkdir -p "{others}"; touch "{others}/{PROGRAM}"', tmp_path, monkeypatch)
    assert binary(cache) == others / PROGRAM
    assert set(left_in(cache)) == {others, cache / "asked"}


def test_a_program_is_built_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_that(BUILDS, tmp_path, monkeypatch)
    first = binary(cache)
    assert first.is_file()
    assert binary(cache) == first
    assert (cache / "asked").read_text() == f"install {PACKAGE}\n"


@pytest.mark.parametrize(("script", "why"), [(REFUSES, "403 Forbidden"), (BUILDS, "does not run it yet")])
def test_the_figures_have_no_value_and_say_why(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    go_that(script, tmp_path, monkeypatch)
    figures = measure(cache)
    assert len(figures) == len(NAMES)
    assert all(math.isnan(figure.value) and why in figure.note for figure in figures.values())
