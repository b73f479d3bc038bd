"""Functions as the documentation has them, for others to copy."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

OPERATIONS = Path(__file__).parent.parent.parent / "docs" / "operations.md"


def documented(name: str) -> Callable[..., Any]:
    """The function of this name in docs/operations.md, with the modules of its text imported."""
    found = re.search(rf"```python\n(def {name}\(.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.S)
    assert found, f"docs/operations.md has no function {name}"
    names: dict[str, Any] = {"hmac": hmac, "time": time, "quote": quote, "Mapping": Mapping}
    exec(found[1], names)
    function: Callable[..., Any] = names[name]
    return function
