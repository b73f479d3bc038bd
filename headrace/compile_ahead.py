"""Compile what numba compiles, once and before anybody waits: a minute of a core that each first start would pay.

    python -m headrace.compile_ahead

Compiled code is kept beside its source until the source changes. Processes that start at the same moment from a fresh
clone would each compile all of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOMS = ("features", "models", "scoring", "training")
PROCESSES = 2


def compiled_modules(root: Path) -> list[str]:
    """The modules that have something to compile, by name, those of the base first."""
    found = []
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            if "njit(" in path.read_text(encoding="utf-8"):
                found.append(".".join(path.relative_to(root).with_suffix("").parts))
    return found


def main(turn: int | None = None) -> None:
    """Import every such module: that compiles it. Several processes share the work."""
    modules = compiled_modules(Path(__file__).parent.parent)
    if turn is not None:
        for module in modules[turn::PROCESSES]:
            import_module(module)
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    commands = [[sys.executable, "-m", "headrace.compile_ahead", str(turn)] for turn in range(PROCESSES)]
    children = [subprocess.Popen(command, env=environment) for command in commands]
    codes = [child.wait() for child in children]
    if any(codes):
        raise SystemExit("not all could be compiled ahead; it is compiled when it is first imported")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
