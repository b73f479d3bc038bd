"""The counts of all processes of one service, whichever of them is asked: each keeps a file in a folder of the run.

Prometheus's own multiprocess mode never forgets a series, so a model's version would stay in it for ever.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scoring.background import Background
from scoring.counts_file import CountsFile, read, write_once
from scoring.dead_processes import VARIABLE, is_alive
from scoring.tally import Counts, merged

PUBLISH_INTERVAL_S = 1.0
END = ".counts"
GONE = f"gone{END}"


class SharedCounts:
    """Adds up what the processes of a run have counted, those that have ended included: a sum never goes back.

    Parameters
    ----------
    own
        What this process has counted so far. It is called by a background thread and by whoever asks for `whole`.
    folder
        None: this process is alone.
    """

    def __init__(self, own: Callable[[], Counts], folder: Path | None) -> None:
        self._own = own
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}{END}"
        self._file = None if folder is None else CountsFile(folder / self._name)
        self._background = Background("counts", self.publish, PUBLISH_INTERVAL_S)

    def start(self) -> None:
        """Publish, then go on in the background."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._background.start()

    def stop(self) -> None:
        """End the background thread, and leave the last counts to the others."""
        self._background.stop()
        self.publish()
        if self._file is not None:
            self._file.close()

    def publish(self) -> None:
        """Let the others see the counts of this process. Never raises: a full disk is no reason to answer nobody."""
        if self._folder is not None and self._file is not None:
            with suppress(OSError), locked(self._folder):
                self._file.write(self._own())

    def whole(self) -> Counts:
        """The counts of all processes, this one's as they are now."""
        if self._folder is None or self._file is None:
            return self._own()
        try:
            with locked(self._folder):
                own = self._own()
                # Written before it is told: whoever is asked next tells at least as much.
                self._file.write(own)
                others = self._others()
                gone = [name for name in others if not is_alive(int(name.partition("-")[0]))]
                alive = [self._read(name) for name in others if name not in gone]
                ended = self._bury(gone)
        except OSError:
            return self._own()
        return merged([own, *alive, ended])

    def _others(self) -> list[str]:
        assert self._folder is not None
        with os.scandir(self._folder) as found:
            return [one.name for one in found if one.name.endswith(END) and one.name not in (self._name, GONE)]

    def _bury(self, gone: list[str]) -> Counts:
        """The counts of all that have ended, in one file from now on; what they knew of the present counts no more."""
        assert self._folder is not None
        ended = self._read(GONE)
        if gone:
            ended = merged([ended, *map(self._read, gone)])
            ended.gauges = {}
            write_once(self._folder / GONE, ended)
            for name in gone:
                (self._folder / name).unlink(missing_ok=True)
        return ended

    def _read(self, name: str) -> Counts:
        assert self._folder is not None
        return read(self._folder / name)


def run_folder(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path | None:
    """Where the processes of this run share their counts; None where nobody has said."""
    folder = environ.get(VARIABLE, "")
    return Path(folder) / "headrace" if folder else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
