"""The spool's file: answers on disk, a line each, in a directory that all scorers of a home share.

Each process appends to a file of its own under a lock (`flock`) that ends with the process, however that ends. A file
that nobody locks has no owner any more: whoever takes its lock records what is in it, then removes it.

A line is a checksum, a space and the decision as JSON. The last one may be torn where the machine or the disk failed:
it does not have its checksum, is passed over and reported.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from prometheus_client import Counter

from stream.invalid_record import InvalidRecord
from stream.records import Decision, decode, encode

SUFFIX = ".spool"
OPEN_TRIES = 5
SAY_EVERY_S = 10.0

DISK_FAILURES = Counter("headrace_spool_disk_failures", "Answers that the spool could not put on disk.")
TORN = Counter("headrace_spool_torn", "Lines of spool files that could not be read.")

_log = logging.getLogger(__name__)


class SpoolFile:
    """The file of one process, made when it is first needed.

    What `append` returned True for outlives the process. It outlives the machine too from the time of `sync`; with
    `sync_each`, at once, for the price of one disk flush within that answer. Not safe under concurrent use, but for
    `sync`.
    """

    def __init__(self, directory: Path, limit_bytes: int, sync_each: bool = False) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self.sync_each = sync_each
        self.path: Path | None = None
        self._number = -1
        self._size = 0
        self.lines = 0
        """Answers in it, recorded or not."""
        self._unsynced = False
        self._said_at_s = -SAY_EVERY_S

    def append(self, decision: Decision) -> bool:
        """Put an answer on disk. False where the disk or the limit does not allow it: nothing of it is there then."""
        line = line_of(decision)
        try:
            if self._number >= 0 and os.fstat(self._number).st_nlink == 0:
                self.close()  # removed under our hands: by somebody, or where locks do not hold between machines
            if self._number < 0:
                self._number, self.path = _create(self.directory)
                self._size = 0
            if self._size + len(line) > self.limit_bytes:
                raise OSError(f"it has its {self.limit_bytes} bytes; HEADRACE_SPOOL_LIMIT sets how many")
            self._write(line)
        except OSError as error:
            DISK_FAILURES.inc()
            if time.monotonic() - self._said_at_s >= SAY_EVERY_S:
                self._said_at_s = time.monotonic()
                _log.error("the spool %s takes no more answers, they are in memory only: %s", self.directory, error)
            return False
        return True

    def sync(self) -> None:
        """See to it that what was appended outlives the machine. From any thread; milliseconds."""
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            # A copy: the owner may close its own meanwhile, and the number would be another file's.
            number = os.dup(self._number)
        except OSError:
            return
        try:
            os.fdatasync(number)
        except OSError as error:
            _log.error("the spool %s could not be flushed: %s", self.path, error)
        finally:
            os.close(number)

    def rewrite(self, decisions: Iterable[Decision]) -> None:
        """Keep only these, since all others are recorded. Where the disk refuses, it stays as it is."""
        anew = SpoolFile(self.directory, self.limit_bytes, self.sync_each)
        if all(anew.append(decision) for decision in decisions):
            self.remove()
            self._number, self.path, self._size, self.lines = anew._number, anew.path, anew._size, anew.lines
            self._unsynced = anew._unsynced
        else:
            anew.remove()

    def remove(self) -> None:
        """All of it is recorded."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it to whoever looks for files without an owner; the next answer begins a new one."""
        if self._number >= 0:
            os.close(self._number)
        self._number, self._size, self.lines, self.path = -1, 0, 0, None

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._number, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written")
            if self.sync_each:
                os.fdatasync(self._number)
        except OSError:
            os.ftruncate(self._number, self._size)  # no half line in the middle
            raise
        self._size += written
        self.lines += 1
        self._unsynced = not self.sync_each


class Orphan:
    """A file without an owner, locked by this process until `close`."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self._number = number

    def decisions(self) -> Iterator[Decision]:
        """What is in it. Lines that cannot be read are passed over, counted and reported."""
        with os.fdopen(os.dup(self._number), "rb") as lines:
            lines.seek(0)
            for count, line in enumerate(lines, 1):
                decision = decision_of(line)
                if decision is None:
                    TORN.inc()
                    _log.error("line %d of the spool file %s is torn; an answer is missing", count, self.path)
                else:
                    yield decision

    def remove(self) -> None:
        """All of it is recorded."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it for later, or for another."""
        os.close(self._number)


def orphans(directory: Path) -> Iterator[Orphan]:
    """The files in a directory that nobody holds, each locked while it is looked at; close or remove it."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            number = os.open(path, os.O_RDWR)
        except OSError:  # recorded by another meanwhile
            continue
        if _locked(number, path):
            yield Orphan(path, number)
        else:
            os.close(number)


def line_of(decision: Decision) -> bytes:
    """A decision as a line."""
    content = encode(decision)
    return b"%08x %b\n" % (crc32(content), content)


def decision_of(line: bytes) -> Decision | None:
    """What a line holds; None where it is not whole."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % crc32(content):
        return None
    try:
        found: Decision = decode(content, Decision)
    except InvalidRecord:
        return None
    return found


def _create(directory: Path) -> tuple[int, Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(OPEN_TRIES):
        path = directory / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        if _locked(number, path):
            return number, path
        os.close(number)  # somebody took it for an orphan before it was locked
    raise OSError(f"no file could be made and locked in {OPEN_TRIES} tries")


def _locked(number: int, path: Path) -> bool:
    """Lock it; False where another has, or where the name stands for another file by now."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine, named = os.fstat(number), path.stat()
    except OSError:
        return False
    return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)
