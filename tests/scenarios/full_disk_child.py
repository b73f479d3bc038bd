"""An archiver whose disk is full until it is told that there is room again.

Run as `python -m tests.scenarios.full_disk_child URL DIRECTORY BYTES`: no file may be longer than BYTES until a line
comes in; what it stores and what it complains of goes out, a line each.
"""

from __future__ import annotations

import logging
import resource
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

from stream.archive import Archive, Written
from stream.archiver import archive_forever
from stream.redis_log import RedisLog


def main(url: str, directory: str, limit_bytes: str) -> None:
    logging.basicConfig(stream=sys.stdout, format="%(message)s", force=True)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), hard))

    def make_room() -> None:
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def say(written: Written) -> None:
        sys.stdout.write(f"{written.files} files\n")
        sys.stdout.flush()

    Thread(target=make_room, daemon=True).start()
    log = RedisLog(url, partitions=2)
    options = {"flush_s": 0.1, "poll_timeout_ms": 50, "pause_limit_s": 0.2, "linger_s": 0.05}
    archive_forever(
        Archive(Path(directory)),
        log,
        Event(),
        retention=timedelta(days=400),
        on_flush=say,
        **options,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
