"""Whether a process that is no child of ours has ended."""

from __future__ import annotations

from pathlib import Path


def gone(pid: int) -> bool:
    """Whether it has ended; one that nobody has waited for still has a number, and no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except OSError:  # it may also end while it is looked at
        return True
