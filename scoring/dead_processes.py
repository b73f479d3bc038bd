"""What a process that has ended said of its present is no longer true: its live gauges go when its heir starts."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def forget_dead_processes() -> None:
    """Remove the files of live gauges whose process has ended; no effect where metrics are not shared by files."""
    directory = os.environ.get(VARIABLE)
    if not directory:
        return
    for path in Path(directory).glob("gauge_live*_*.db"):
        number = path.stem.rpartition("_")[2]
        if number.isdigit() and not is_alive(int(number)):
            path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
