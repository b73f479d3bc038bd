"""Which version of a model is champion, challenger, shadow or previous: a log that is only ever appended to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

Alias = Literal["champion", "challenger", "shadow", "previous"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger", "shadow", "previous")


class AliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log: from `at` on, `alias` of model `name` means `version` (None: nothing), and why."""

    at: datetime
    alias: Alias
    name: str
    version: str | None
    by: str = ""
    why: str = ""


class AliasLog:
    """An append-only file of JSON lines. Any number of processes may read and append.

    A change is one write with a newline at its end, under a lock, and on disk when `move` returns: a reader sees it
    whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def changes(self) -> list[AliasChange]:
        """Every change so far, oldest first."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        return list(_lines(content))

    def current(self, name: str) -> dict[Alias, str]:
        """The version that each alias of the model means now; aliases that mean nothing are absent."""
        return _current(self.changes(), name)

    def move(self, change: AliasChange) -> None:
        """Append a change. When the champion changes, the version that it was becomes `previous` in the same write."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file, _locked(file):
            file.seek(0)
            content = file.read()
            champion = _current(_lines(content), change.name).get("champion")
            changes = [change]
            if change.alias == "champion" and champion is not None and champion != change.version:
                why = f"was champion before {change.version}"
                changes.append(msgspec.structs.replace(change, alias="previous", version=champion, why=why))
            # A line that a crash tore was never acknowledged: end it, so that this one starts afresh.
            torn = bool(content) and not content.endswith(b"\n")
            lines = b"".join(msgspec.json.encode(each) + b"\n" for each in changes)
            file.write(b"\n" * torn + lines)
            file.flush()
            os.fsync(file.fileno())


def _lines(content: bytes) -> Iterator[AliasChange]:
    for line in content.split(b"\n"):
        try:
            yield msgspec.json.decode(line, type=AliasChange)
        except msgspec.MsgspecError:
            continue  # blank, or torn by a crash and never acknowledged


def _current(changes: Iterator[AliasChange] | list[AliasChange], name: str) -> dict[Alias, str]:
    latest = {change.alias: change.version for change in changes if change.name == name}
    return {alias: version for alias, version in latest.items() if version is not None}


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
