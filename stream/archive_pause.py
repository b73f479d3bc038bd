"""Ask the archiver for its archive: it stores what it holds, lends the archive, and goes on when it has it back.

Who asks holds a lock on a file for as long as it takes; the lock ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from stream.archive import Archive, ArchiveInUse

PAUSE_FILE = ".asked-for"
LENT_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1


def is_asked_for(archive: Archive) -> bool:
    """Whether somebody asks for the archive, or has it."""
    asked = os.open(archive.directory / PAUSE_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(asked)
    return False


def lend(archive: Archive, stop: Event) -> None:
    """Leave the archive to who asks for it until it is back; with `stop` set, for good. Store what waits first."""
    archive.__exit__(None, None, None)
    while is_asked_for(archive):
        if stop.wait(LOOK_EVERY_S):
            return
    archive.__enter__()


@contextmanager
def borrowed(archive: Archive, within_s: float = LENT_WITHIN_S) -> Iterator[Archive]:
    """The archive, entered, while an archiver that runs waits. Raises `ArchiveInUse` where it is not lent in time."""
    asked = os.open(archive.directory / PAUSE_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(asked, fcntl.LOCK_EX)
        until = time.monotonic() + within_s
        while True:
            try:
                archive.__enter__()
                break
            except ArchiveInUse:
                if time.monotonic() > until:
                    raise
                time.sleep(LOOK_EVERY_S)
        try:
            yield archive
        finally:
            archive.__exit__(None, None, None)
    finally:
        os.close(asked)
