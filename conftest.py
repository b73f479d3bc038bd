"""What pytest looks into: tests, and whatever has an example in its docstrings. To import all else proves nothing."""

from __future__ import annotations

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out modules without a doctest, which would be imported just to find that out."""
    if collection_path.suffix != ".py" or collection_path.name.startswith("test_"):
        return None
    return True if ">>>" not in collection_path.read_text(encoding="utf-8") else None
