"""What is dear to make and only read afterwards, made once for all processes of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory of this session, filled by whoever asks first; others wait until it is whole. Nobody writes to it.

    What cannot be made is tried again by the next: one failure is not told as another's.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    directory, whole = root / name, root / f"{name}.whole"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            directory.mkdir(exist_ok=True)
            make(directory)
            whole.touch()
    return directory
