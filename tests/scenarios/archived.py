"""What a running stack's log holds, stored in its archive by this process, and the end of that waited for."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import timedelta

from headrace.assembly import open_log
from headrace.cold import open_archive
from headrace.settings import Settings
from stream.archiver import GROUP, archive_forever
from stream.log import lag

LIMIT_S = 240.0


def archive_all(settings: Settings, *topics: str) -> None:
    """What the archiver does, until it has all of these topics."""
    stop = threading.Event()
    with closing(open_log(settings)) as log:
        given = {"retention": timedelta(days=4000), "flush_s": 0.1, "poll_timeout_ms": 50}
        archiver = threading.Thread(target=archive_forever, args=(open_archive(settings), log, stop), kwargs=given)
        archiver.start()
        try:
            end = time.monotonic() + LIMIT_S
            while any(any(lag(log, GROUP, topic).values()) for topic in topics):
                assert time.monotonic() < end, "the archive did not get all in time"
                time.sleep(0.05)
        finally:
            stop.set()
            archiver.join()
