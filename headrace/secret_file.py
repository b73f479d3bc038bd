"""Secrets that settings take from files: `HEADRACE_<NAME>_FILE` names one, and its content is the setting."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

SUFFIX = "_FILE"
BYTES_LIMIT = 65_536


def secret_of(variable: str, environ: Mapping[str, str]) -> str | None:
    """What a secret's file holds, without the newline at its end; None where no file is named.

    Raises `ValueError` where it cannot be read, is empty, or the variable is given too.
    """
    place = environ.get(variable + SUFFIX)
    if not place:
        return None
    if environ.get(variable):
        raise ValueError(f"{variable} and {variable}{SUFFIX} are both given; give one")
    try:
        with Path(place).open("rb") as file:
            text = file.read(BYTES_LIMIT).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable}{SUFFIX}={place!r} cannot be read: {error}") from None
    if not text:
        raise ValueError(f"{variable}{SUFFIX}={place!r} is empty; write the secret into it, or unset the variable")
    return text


def is_open(path: Path) -> bool:
    """Whether a file may be read by everybody on its machine, or written by its group."""
    return bool(path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP))
