"""Check a chain from its first entry to its last, in the memory of one line (and a number for each erased payload)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from stream.chain import Anchor, locked, path_of, segments
from stream.chain_entry import BEGINNING, ERASABLE, ChainEntry, InvalidLine, parse


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of an erasure: whose payloads are gone (as a keyed mark), who asked for it, when and why.

    A verdict on what was erased needs no more than the numbers; nothing here names the person.
    """

    entity: str
    mark: str
    by: str
    at: str
    entries: list[int]
    why: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: how far the chain goes, and the first thing that is wrong, if any."""

    entries: int
    segments: int
    erased: int
    head: str
    problem: str = ""
    segment: str = ""
    entry: int = 0
    by_kind: dict[str, int] = {}

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


class _Wrong(Exception):
    def __init__(self, entry: int, problem: str) -> None:
        self.entry = entry
        self.problem = problem


class ChainCheck:
    """One check of one directory. `anchors` are hashes by number, as somebody kept them elsewhere."""

    def __init__(self, directory: Path, key: str = "", anchors: Mapping[int, str] | None = None) -> None:
        self._directory = directory
        self._key = key.encode()
        self._anchors = dict(anchors or {})
        self._last = Anchor()
        self._gone: dict[int, str] = {}
        self._erased = 0
        self._segments = 0
        self._by_kind: dict[str, int] = {}

    def run(self) -> Verdict:
        """Read once what is there when it begins. A copy of a chain needs no more than to be read."""
        name = ""
        sizes = self._sizes()
        try:
            for first in sizes:
                path = path_of(self._directory, first)
                name = path.name
                if first != self._last.number + 1:
                    raise _Wrong(
                        self._last.number + 1,
                        f"entries {self._last.number + 1} to {first - 1} are missing: a segment was removed",
                    )
                self._segments += 1
                with path.open("rb") as file:
                    self._check(file, sizes[first])
            name = ""
            self._check_end()
        except _Wrong as wrong:
            return self._verdict(wrong.problem, name, wrong.entry)
        return self._verdict()

    def _sizes(self) -> dict[int, int]:
        """The bytes of each segment, at a moment when nobody is in the midst of a line."""
        try:
            with locked(self._directory):
                return self._sizes_now()
        except OSError:  # read only: then nobody writes
            return self._sizes_now()

    def _sizes_now(self) -> dict[int, int]:
        return {first: path_of(self._directory, first).stat().st_size for first in segments(self._directory)}

    def _check(self, file: BinaryIO, size: int) -> None:
        while file.tell() < size and (line := file.readline()):
            due = self._last.number + 1
            if not line.endswith(b"\n"):
                raise _Wrong(
                    due, "the last line has no end: cut, or torn by a crash (which the keeper mends at its next start)"
                )
            try:
                entry = parse(line.removesuffix(b"\n"))
            except InvalidLine as error:
                raise _Wrong(due, str(error)) from None
            self._check_place(entry, due, file)
            self._check_content(entry)
            self._last = Anchor(entry.number, entry.hash)
            self._by_kind[entry.kind] = self._by_kind.get(entry.kind, 0) + 1

    def _check_place(self, entry: ChainEntry, due: int, file: BinaryIO) -> None:
        if not entry.is_hashed_with(self._key):
            if due == entry.number == 1:
                raise _Wrong(1, "its hash is not its own: the entry was changed, or HEADRACE_AUDIT_KEY is another")
            raise _Wrong(due, "its hash is not that of its number, subject, source and digest: the entry was changed")
        if entry.number < due:
            raise _Wrong(entry.number, f"a second entry has the number {entry.number}, where {due} was due")
        if entry.number > due:
            if _comes_later(due, file):
                raise _Wrong(due, f"entry {entry.number} stands before entry {due}: they were put in another order")
            raise _Wrong(due, f"entries {due} to {entry.number - 1} are missing: they were removed")
        if entry.previous != self._last.hash:
            before = "the beginning" if self._last.hash == BEGINNING else f"entry {self._last.number}"
            raise _Wrong(due, f"it does not follow on {before} as that is: one of the two was put in another's place")
        if self._anchors.get(entry.number, entry.hash) != entry.hash:
            raise _Wrong(due, "its hash is not the anchor's: the chain up to here was written anew")

    def _check_content(self, entry: ChainEntry) -> None:
        if entry.kind in ERASABLE and entry.is_erased:
            self._gone[entry.number] = entry.kind
            return
        if not entry.is_whole:
            raise _Wrong(entry.number, "its payload is not the one that was appended: changed, or half erased")
        if entry.kind == "erasure":
            for number in msgspec.json.decode(entry.payload, type=Erasure).entries:
                if self._gone.pop(number, None) is None:
                    raise _Wrong(
                        number,
                        f"entry {entry.number} says that its payload was erased, and it was not: "
                        "run 'headrace forget' again",
                    )
                self._erased += 1

    def _check_end(self) -> None:
        for number in sorted(self._gone):
            raise _Wrong(number, "its payload is gone, and no erasure in the chain says so")
        for number in sorted(self._anchors):
            if number > self._last.number:
                raise _Wrong(
                    self._last.number,
                    f"the chain ends here, and the anchor is of entry {number}: its tail was cut off",
                )

    def _verdict(self, problem: str = "", segment: str = "", entry: int = 0) -> Verdict:
        return Verdict(
            entries=self._last.number,
            segments=self._segments,
            erased=self._erased,
            head=str(self._last),
            problem=problem,
            segment=segment,
            entry=entry,
            by_kind=self._by_kind,
        )


def _comes_later(number: int, file: BinaryIO) -> bool:
    return any(line.startswith(b"%d " % number) for line in file)
