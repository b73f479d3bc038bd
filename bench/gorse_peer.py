"""Gorse, the recommender system in Go, as a peer: whether it can be built here, and what stopped it.

`go install` builds it as Go's own client does for any command, from the module proxy that the client is set to. So far
no build has succeeded: a proxy that refuses the module ends the attempt. Nothing here starts a Gorse or asks it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.figures import Figures, not_measured, show
from bench.peers import ROOT, PeerMissing

VERSION = "v0.4.15"
PACKAGE = f"github.com/zhenghaoz/gorse/cmd/gorse-in-one@{VERSION}"
PROGRAM = "gorse-in-one"
BUILD_TIMEOUT_S = 1800.0
TAIL_CHARACTERS = 400
NAMES = {"nDCG@10": "", "precision@10": "", "recall@10": "", "HTTP p50": "ms", "HTTP p99": "ms", "training": "s"}
HIGHER = ("nDCG@10", "precision@10", "recall@10")


def binary(cache: Path = ROOT / ".bench", timeout_s: float = BUILD_TIMEOUT_S) -> Path:
    """Gorse's program, built on first use and kept in the cache. Raises `PeerMissing` with Go's last lines.

    A failed attempt leaves nothing in the cache, so the next call tries again.
    """
    place = cache / f"gorse-{VERSION}"
    program = place / PROGRAM
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise PeerMissing(f"Gorse {VERSION}: there is no 'go' on the PATH; install Go to build it")
    fresh = place.with_name(f"{place.name}-{os.getpid()}")
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        _install(go, fresh, timeout_s)
        fresh.replace(place)
    except OSError as error:
        # Unless another process built it meanwhile: a full place is not replaced.
        if not program.exists():
            raise PeerMissing(f"Gorse {VERSION}: it could not be kept in {cache}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return program


def _install(go: str, place: Path, timeout_s: float) -> None:
    command = [go, "install", PACKAGE]
    what = f"Gorse {VERSION}: 'go install {PACKAGE}'"
    environment = os.environ | {"GOBIN": str(place.resolve())}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"{what} had not ended after {timeout_s:g} s; build it beforehand") from error
    except OSError as error:
        raise PeerMissing(f"{what} did not start: {error}") from error
    if result.returncode:
        said = " ".join((result.stderr or result.stdout).split())[-TAIL_CHARACTERS:]
        raise PeerMissing(f"{what} failed with status {result.returncode}: {said}")
    if not (place / PROGRAM).is_file():
        raise PeerMissing(f"{what} ended well, but left no {PROGRAM}")


def measure(cache: Path = ROOT / ".bench") -> Figures:
    """The peer's figures, none with a value; the notes say why. Never raises because Gorse is missing."""
    try:
        why = f"{binary(cache)} was built, but the bench does not run it yet"
    except PeerMissing as error:
        why = str(error)
    return {
        f"Gorse, {name}": not_measured(unit, "higher" if name in HIGHER else "lower", why)
        for name, unit in NAMES.items()
    }


if __name__ == "__main__":
    show("Gorse on MovieLens 100K", measure())
