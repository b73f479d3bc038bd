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

import msgspec

from scoring.background import Background
from scoring.dead_processes import VARIABLE, is_alive
from scoring.tally import Counts, merged

PUBLISH_INTERVAL_S = 1.0
"""The variable with which BentoML names a folder that the processes of one run share, empty when it begins."""
GONE = "gone.counts"

_decoder = msgspec.msgpack.Decoder(Counts)
_encoder = msgspec.msgpack.Encoder()


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
        self._file = f"{os.getpid()}-{secrets.token_hex(4)}.counts"
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

    def publish(self) -> None:
        """Let the others see the counts of this process. Never raises: a full disk is no reason to answer nobody."""
        if self._folder is not None:
            with suppress(OSError), locked(self._folder):
                self._write(self._file, self._own())

    def whole(self) -> Counts:
        """The counts of all processes, this one's as they are now."""
        if self._folder is None:
            return self._own()
        try:
            with locked(self._folder):
                own = self._own()
                # Written before it is told: whoever is asked next tells at least as much.
                self._write(self._file, own)
                gone = [path for path in self._others() if not is_alive(int(path.name.partition("-")[0]))]
                alive = [self._read(path) for path in self._others() if path not in gone]
                ended = self._bury(gone)
        except OSError:
            return self._own()
        return merged([own, *alive, ended])

    def _others(self) -> list[Path]:
        assert self._folder is not None
        return [path for path in self._folder.glob("*-*.counts") if path.name != self._file]

    def _bury(self, gone: list[Path]) -> Counts:
        """The counts of all that have ended, in one file from now on; what they knew of the present counts no more."""
        assert self._folder is not None
        ended = self._read(self._folder / GONE)
        if gone:
            ended = merged([ended, *map(self._read, gone)])
            ended.gauges = {}
            self._write(GONE, ended)
            for path in gone:
                path.unlink(missing_ok=True)
        return ended

    def _read(self, path: Path) -> Counts:
        try:
            return _decoder.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return Counts()

    def _write(self, name: str, counts: Counts) -> None:
        assert self._folder is not None
        part = self._folder / f"{name}.part"  # one that a crash leaves is nobody's counts
        part.write_bytes(_encoder.encode(counts))
        part.replace(self._folder / name)


def run_folder(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path | None:
    """Where the processes of this run share their counts; None where nobody has said."""
    folder = environ.get(VARIABLE, "")
    return Path(folder) / "headrace" if folder else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
