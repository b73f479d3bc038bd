"""The audit chain: entries that are only ever appended, each named by the next one's hash, in files by number.

`<directory>/<number of the first entry>.chain`. A chain shows that what is in it was not changed, removed or put in
another order since. Alone it cannot show that its end was cut off, nor that somebody who may write the files (and has
the key, where there is one) has written all of it anew: for that, keep anchors (number and hash of the newest entry)
where they cannot reach. Nor can it show that what was appended was true, or that everything was appended.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from stream.archive import flush_directory
from stream.chain_entry import (
    BEGINNING,
    ERASABLE,
    NOTHING,
    ChainEntry,
    Draft,
    InvalidLine,
    erasable_part,
    erased,
    parse,
)
from stream.chain_index import ChainIndex, ReadTo, Spot

SUFFIX = ".chain"
INDEX_FILE = "index.sqlite"
CUT_FILE = "cut.bytes"
SEGMENT_BYTES = 64 << 20
INDEXED_AT_ONCE = 5000


class ChainBroken(RuntimeError):
    """The files are not the chain that they were, or the key is not its key. A retry cannot help."""


class Anchor(NamedTuple):
    """The number and the hash of one entry: what to keep elsewhere. The hash stands for all entries up to it."""

    number: int = 0
    hash: str = BEGINNING

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class _Opening(msgspec.Struct, frozen=True):
    """The payload of the first entry."""

    chain: str
    keyed: bool


class Chain:
    """The chain in one directory. Any number of processes may append: each append holds the directory's lock.

    `key` makes every hash an HMAC: without the key nobody can write a chain that verifies. Trap: a chain begins with
    or without a key and stays so.
    """

    def __init__(self, directory: Path, key: str = "", segment_bytes: int = SEGMENT_BYTES) -> None:
        self.directory = directory
        self.key = key.encode()
        self.segment_bytes = segment_bytes
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.index = ChainIndex(directory / INDEX_FILE)

    def close(self) -> None:
        """Close the index; files are closed after each call."""
        self.index.close()

    def append(self, drafts: Sequence[Draft]) -> list[ChainEntry]:
        """Append those drafts whose subject is new (or `-`), in this order; they are on the disk when it returns.

        1. Mend what a crash left.  2. Write and flush.  3. Index. A crash within 2 leaves whole entries and at most
        one torn line; the same drafts again then add what is missing. Raises `ChainBroken`.
        """
        with locked(self.directory):
            # 1.
            end = self._mend()
            if not end.number:
                opening = _Opening(secrets.token_hex(16), bool(self.key))
                drafts = [Draft("opened", "opened", NOTHING, msgspec.json.encode(opening)), *drafts]
            seen = self.index.known([draft.subject for draft in drafts if draft.subject != NOTHING])
            fresh = []
            for draft in drafts:
                if draft.subject == NOTHING or draft.subject not in seen:
                    fresh.append(draft)
                    seen.add(draft.subject)
            if not fresh:
                return []
            # 2.
            appended, spots, end = self._write(fresh, end)
            # 3.
            self.index.add(spots, end)
            return appended

    def head(self) -> Anchor:
        """The newest entry. Raises `ChainBroken`."""
        with locked(self.directory):
            end = self._mend()
        return Anchor(end.number, end.hash)

    def find(self, prefix: str) -> list[ChainEntry]:
        """The entries whose subject begins like this, by number. Their hashes are not checked."""
        with locked(self.directory):
            self._mend()
        return [self.entry(spot) for spot in self.index.spots(prefix)]

    def entry(self, spot: Spot) -> ChainEntry:
        """One entry. Raises `ChainBroken` where no entry of this number stands."""
        with self.segment(spot.segment).open("rb") as file:
            file.seek(spot.at)
            try:
                found = parse(file.readline().removesuffix(b"\n"))
            except InvalidLine as error:
                raise self._broken(f"entry {spot.number} cannot be read: {error}") from None
        if found.number != spot.number:
            raise self._broken(f"entry {found.number} stands where {spot.number} was")
        return found

    def entries(self) -> Iterator[tuple[Spot, ChainEntry]]:
        """All entries that were whole when it began, with where they stand; hashes are not checked."""
        with locked(self.directory):
            end = self._mend()
        for first in segments(self.directory):
            with self.segment(first).open("rb") as file:
                at = 0
                for line in file:
                    if first > end.segment or (first == end.segment and at >= end.at):
                        return
                    try:
                        found = parse(line.removesuffix(b"\n"))
                    except InvalidLine as error:
                        raise self._broken(f"segment {first}, byte {at}: {error}") from None
                    yield Spot(found.number, first, at), found
                    at += len(line)

    def overwrite(self, spots: Sequence[Spot]) -> int:
        """Erase salt and payload of these entries for good; how many still had them. Repeats change nothing.

        Append the entry that says so first: a payload that is gone without one counts as tampering. The bytes are
        overwritten in place: a file system or a disk that keeps old blocks, and every backup, has them still.
        """
        count = 0
        with locked(self.directory):
            for spot in spots:
                with self.segment(spot.segment).open("r+b") as file:
                    file.seek(spot.at)
                    line = file.readline().removesuffix(b"\n")
                    found = parse(line)
                    if found.number != spot.number or found.kind not in ERASABLE:
                        raise self._broken(f"entry {spot.number} is not there, or not one to erase")
                    if found.is_erased:
                        continue
                    start, length = erasable_part(line)
                    file.seek(spot.at + start)
                    file.write(erased(line[start : start + length]))
                    file.flush()
                    os.fsync(file.fileno())
                    count += 1
        return count

    def segment(self, first: int) -> Path:
        """The file of the segment that begins with this entry."""
        return path_of(self.directory, first)

    def _write(self, drafts: Sequence[Draft], end: ReadTo) -> tuple[list[ChainEntry], list[tuple[str, Spot]], ReadTo]:
        entries: list[ChainEntry] = []
        spots: list[tuple[str, Spot]] = []
        number, previous, segment, at = end.number, end.hash, end.segment, end.at
        lines: list[bytes] = []
        for draft in drafts:
            number += 1
            if at >= self.segment_bytes:
                self._flush(segment, lines)
                segment, at, lines = number, 0, []
            entry = ChainEntry.of(draft, number, previous, self.key)
            line = entry.line
            parse(line.removesuffix(b"\n"))  # a subject or a payload that no line can hold is refused here
            entries.append(entry)
            if draft.subject != NOTHING:
                spots.append((draft.subject, Spot(number, segment, at)))
            lines.append(line)
            at, previous = at + len(line), entry.hash
        self._flush(segment, lines)
        return entries, spots, ReadTo(segment, at, number, previous)

    def _flush(self, first: int, lines: list[bytes]) -> None:
        if not lines:
            return
        path = self.segment(first)
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            flush_directory(self.directory)

    def _mend(self) -> ReadTo:
        """Index what is not indexed; cut off what a crash left unfinished. The end of the chain."""
        end = self.index.read_to()
        known = segments(self.directory)
        if known:
            self._check_key(known[0])
        if end.number:
            path = self.segment(end.segment)
            if not path.exists() or path.stat().st_size < end.at:
                raise self._broken(f"it ends before entry {end.number}, which it once had")
        for first in [first for first in known if first >= end.segment]:
            with self.segment(first).open("rb") as file:
                file.seek(end.at if first == end.segment else 0)
                end = self._index_rest(file, first, end, is_last=first == known[-1])
        return end

    def _index_rest(self, file: BinaryIO, first: int, end: ReadTo, is_last: bool) -> ReadTo:
        was_indexed = end.number > 0
        spots: list[tuple[str, Spot]] = []
        at = file.tell()
        number, previous = end.number, end.hash
        for line in file:
            problem = ""
            try:
                entry = parse(line.removesuffix(b"\n"))
            except InvalidLine as error:
                problem = str(error)
            else:
                if (entry.number, entry.previous) != (number + 1, previous) or not entry.is_hashed_with(self.key):
                    problem = f"entry {entry.number} does not follow on entry {number}"
            if problem or not line.endswith(b"\n"):
                # Beyond what was ever flushed a crash may leave anything; within it, nothing.
                if not is_last or (line.endswith(b"\n") and not was_indexed):
                    raise self._broken(f"segment {first}, byte {at}: {problem}")
                self._cut(first, at)
                break
            number, previous = entry.number, entry.hash
            if entry.subject != NOTHING:
                spots.append((entry.subject, Spot(number, first, at)))
            at += len(line)
            if len(spots) >= INDEXED_AT_ONCE:
                self.index.add(spots, ReadTo(first, at, number, previous))
                spots = []
        found = ReadTo(first, at, number, previous)
        if found != end:
            self.index.add(spots, found)
        return found

    def _cut(self, first: int, at: int) -> None:
        with self.segment(first).open("r+b") as file:
            file.seek(at)
            rest = file.read()
            with (self.directory / CUT_FILE).open("ab") as kept:
                kept.write(rest + b"\n")
            file.truncate(at)
            os.fsync(file.fileno())

    def _check_key(self, first: int) -> None:
        with self.segment(first).open("rb") as file:
            line = file.readline()
        try:
            entry = parse(line.removesuffix(b"\n"))
        except InvalidLine:
            return  # torn at its very first line, or broken: said elsewhere
        if not entry.is_hashed_with(self.key):
            raise self._broken(
                "its first entry was not hashed with this key; set HEADRACE_AUDIT_KEY as when the chain was begun"
            )

    def _broken(self, says: str) -> ChainBroken:
        return ChainBroken(f"the audit chain in {self.directory}: {says}; run 'headrace audit verify'")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody appends to the chain in this directory meanwhile, nor erases."""
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def path_of(directory: Path, first: int) -> Path:
    """The file of the segment that begins with this entry."""
    return directory / f"{first:012d}{SUFFIX}"


def segments(directory: Path) -> list[int]:
    """The segments in a directory, by the numbers of their first entries."""
    return sorted(int(path.stem) for path in directory.glob(f"*{SUFFIX}"))
