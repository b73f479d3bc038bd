"""Counts of a process in a file that others read: the newest that were written whole, whenever it is killed.

A file has two places of equal size. Every other write goes to the other one, so that one which is cut short leaves
what was there before; a checksum tells which are whole. Nothing is renamed but where counts outgrow their place: to put
a new file in the place of an old one costs a file system a hundred times what it takes to write over some pages.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from zlib import crc32

import msgspec

from scoring.tally import Counts

LEAST_PLACE = 16_384
_HEAD = struct.Struct("<QII")
"""Number of the write, bytes and their checksum."""
_decoder = msgspec.msgpack.Decoder(Counts)
_encoder = msgspec.msgpack.Encoder()


class CountsFile:
    """Writes the counts of this process. Of one thread at a time, and of no two processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._place = 0
        self._writes = 0

    def write(self, counts: Counts) -> None:
        """Put these in the place of what is older. Raises `OSError`."""
        content = _encoder.encode(counts)
        self._writes += 1
        if len(content) + _HEAD.size > self._place:
            self._begin(content)
            return
        os.pwrite(self._file, _headed(self._writes, content), self._writes % 2 * self._place)

    def close(self) -> None:
        """What was written stays. Safe to call twice; the next write begins a new file in its place."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._place = -1, 0

    def _begin(self, content: bytes) -> None:
        self.close()
        place = max(LEAST_PLACE, 2 * len(content))
        _put(self._path, _headed(self._writes, content), place)
        self._file = os.open(self._path, os.O_RDWR)
        # From the first place on: the next write goes to the second.
        self._place, self._writes = place, self._writes + self._writes % 2


def write_once(path: Path, counts: Counts) -> None:
    """A file of these counts in the place of the one that was there. Raises `OSError`."""
    content = _headed(0, _encoder.encode(counts))
    _put(path, content, len(content))


def read(path: Path) -> Counts:
    """The newest counts that were written whole; none where there are none, or no such file."""
    try:
        with path.open("rb", buffering=0) as file:
            content = file.read()
        place = len(content) // 2
        found = [one for one in (_whole(content[:place]), _whole(content[place:])) if one is not None]
        return _decoder.decode(max(found)[1]) if found else Counts()
    except (OSError, msgspec.DecodeError):
        return Counts()


def _put(path: Path, content: bytes, place: int) -> None:
    """A file of two places, of which the first is filled."""
    part = path.with_name(f"{path.name}.part")  # one that a crash leaves is nobody's counts
    with part.open("wb", buffering=0) as file:
        file.write(content)
        file.truncate(2 * place)
    part.replace(path)


def _headed(number: int, content: bytes) -> bytes:
    return _HEAD.pack(number, len(content), _checksum(number, content)) + content


def _checksum(number: int, content: bytes) -> int:
    """Of both: a write that is cut short after its number would else pass the counts before it for newer ones."""
    return crc32(content, crc32(number.to_bytes(8, "little")))


def _whole(place: bytes) -> tuple[int, bytes] | None:
    """The number and the counts of a place, None where they are not whole."""
    if len(place) < _HEAD.size:
        return None
    number, size, checksum = _HEAD.unpack_from(place)
    content = place[_HEAD.size : _HEAD.size + size]
    return (number, content) if size and len(content) == size and _checksum(number, content) == checksum else None
