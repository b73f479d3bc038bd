"""Files that are there whole or not at all, whoever reads them at whatever moment."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put a new file in the place of the old one at one instant; its folder is made where it is missing.

    Node-exporter reads whatever ends in .prom, and people reload pages: no half of a file may have that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)
