"""What schemathesis needs to be told: how records become lines, and that events have happened already.

Loaded by its command in a process of its own; pytest does not collect it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import hypothesis
import msgspec
import schemathesis
from hypothesis import strategies as st

LATEST = datetime(2026, 1, 1)  # naive: hypothesis wants its bounds so


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """A text as it is, anything else as one line."""
    return value.encode(errors="replace") if isinstance(value, str) else msgspec.json.encode(value)


schemathesis.openapi.format(
    "date-time",
    st.datetimes(max_value=LATEST).map(lambda moment: f"{moment.isoformat()}Z"),
)


def no_target(observation: float, *, label: str = "") -> float:
    """Hypothesis 6.170's optimiser of targets can fail with an IndexError of its own; without targets it is not run."""
    return observation


# schemathesis asks for it by this name.
hypothesis.target = no_target
