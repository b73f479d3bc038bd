"""A home of one's own, copied from one that was made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of the module's `made`, to be changed at will."""
    return Path(shutil.copytree(made, tmp_path / "home"))
