"""Which version of a model has which alias (champion, canary, shadow, ...): a log that is only ever appended to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec

Alias = Literal["champion", "challenger", "shadow", "canary", "previous"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger", "shadow", "canary", "previous")
SHARES = (1, 5, 25)
"""Which percentages of the entities a canary may answer: each a step that the one before has to earn."""
NO_LONGER_BESIDE: tuple[Alias, ...] = ("challenger", "canary")
"""What a version stops being when it becomes champion."""
PROMOTED = "it is the champion now"


class AliasMoved(RuntimeError):
    """Somebody else moved the alias meanwhile; nothing was changed. A retry judges against what it means now."""


class AliasChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the log: from `at` on, `alias` of model `name` means `version` (None: nothing), and why.

    `gates` has what each gate said, in words, by the gate's name; `forced` names those that failed and were overruled.
    `rollback` marks a return to the champion before. `share` is the percentage of the entities that a canary answers.
    """

    at: datetime
    alias: Alias
    name: str
    version: str | None
    by: str = ""
    why: str = ""
    gates: dict[str, str] = {}
    forced: list[str] = []
    rollback: bool = False
    share: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0


class Canary(NamedTuple):
    """The version that answers `share` percent of the entities, and since when it has been the canary."""

    version: str
    share: int
    since: datetime


class AliasLog:
    """An append-only file of JSON lines. Any number of processes may read and append.

    A change is one write with a newline at its end, under a lock, and on disk when `move` returns: a reader sees it
    whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], list[AliasChange]] | None = None

    def changes(self) -> list[AliasChange]:
        """Every change so far, oldest first. Asked again, it reads the file only where that has changed."""
        try:
            with self._path.open("rb") as file:
                now = os.fstat(file.fileno())
                state = (now.st_ino, now.st_size, now.st_mtime_ns)
                known = self._read
                if known is None or known[0] != state:
                    # What is appended meanwhile makes another state, and is read the next time.
                    known = self._read = (state, list(_lines(file.read(now.st_size))))
        except FileNotFoundError:
            return []
        return known[1].copy()

    def current(self, name: str) -> dict[Alias, str]:
        """The version that each alias of the model means now; aliases that mean nothing are absent."""
        return _current(self.changes(), name)

    def move(self, change: AliasChange, *expected: str | None) -> None:
        """Append a change. When the champion changes, what a rollback would return to becomes `previous` with it.

        Where an `expected` version is given, the alias must still mean it (None: nothing), under the same lock: of two
        who saw one champion and want to replace it, one does. Raises `AliasMoved` for the other; and for a canary that
        became the champion meanwhile.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file, _locked(file):
            file.seek(0)
            content = file.read()
            known = list(_lines(content))
            present = _current(known, change.name)
            meant = present.get(change.alias)
            if expected and meant != expected[0]:
                raise _moved(change, expected[0], meant, known)
            if change.alias == "canary" and change.version is not None and change.version == present.get("champion"):
                raise AliasMoved(
                    f"version {change.version} is the champion of {change.name!r} now, and no canary beside it"
                )
            changes = [change]
            if change.alias == "champion" and meant is not None and meant != change.version:
                before = next(iter(champions([*known, change], change.name)[-2::-1]), None)
                why = f"{'champion' if before else 'no champion'} before {change.version}"
                changes.append(
                    AliasChange(at=change.at, alias="previous", name=change.name, version=before, by=change.by, why=why)
                )
            if change.alias == "champion":
                changes += [
                    AliasChange(at=change.at, alias=alias, name=change.name, version=None, by=change.by, why=PROMOTED)
                    for alias in NO_LONGER_BESIDE
                    if change.version is not None and present.get(alias) == change.version
                ]
            # A line that a crash tore was never acknowledged: end it, so that this one starts afresh.
            torn = bool(content) and not content.endswith(b"\n")
            lines = b"".join(msgspec.json.encode(each) + b"\n" for each in changes)
            file.write(b"\n" * torn + lines)
            file.flush()
            os.fsync(file.fileno())


def champions(changes: Iterable[AliasChange], name: str) -> list[str]:
    """The champions whose turn could come again, oldest first; the last one is the present one.

    A rollback takes away what came after the version that it returns to: rolling back twice goes back two steps, and
    never forward to what was rolled back.
    """
    found: list[str] = []
    for change in changes:
        if change.name != name or change.alias != "champion":
            continue
        if change.version is None:
            continue  # nobody is champion; the one before may come back
        if change.rollback and change.version in found:
            del found[len(found) - found[::-1].index(change.version) :]
        elif found[-1:] != [change.version]:
            found.append(change.version)
    return found


def canary_of(changes: Iterable[AliasChange], name: str) -> Canary | None:
    """The canary of the model now; None where there is none. Another share of the same version is the same canary."""
    found: Canary | None = None
    for change in changes:
        if change.name != name or change.alias != "canary":
            continue
        if change.version is None or not change.share:
            found = None
        else:
            is_same = found is not None and found.version == change.version
            found = Canary(change.version, change.share, found.since if found and is_same else change.at)
    return found


def _moved(change: AliasChange, expected: str | None, meant: str | None, known: list[AliasChange]) -> AliasMoved:
    last = next((one for one in reversed(known) if (one.name, one.alias) == (change.name, change.alias)), None)
    by = "" if last is None else f", moved by {last.by or 'somebody'} at {last.at:%Y-%m-%d %H:%M:%S}"
    return AliasMoved(
        f"the {change.alias} of {change.name!r} is {meant or 'nothing'}{by}, and was {expected or 'nothing'} when "
        f"{change.version} was compared with it; nothing was changed: run the command again"
    )


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
