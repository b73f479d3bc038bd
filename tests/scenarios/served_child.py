"""A scorer as the service has it, in a process that a test can kill: an event id a line in, a decision a line out.

Run as `python -m tests.scenarios.served_child URL SPOOL [BYTES]`; no file that it writes may be longer than BYTES.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from stream.records import encode
from tests.scenarios.served import PATIENT_MS, Served


def main(url: str, spool: str, limit_bytes: str = "") -> None:
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    with Served(url, Path(spool), deadline_ms=PATIENT_MS) as served:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            sys.stdout.buffer.write(encode(served.score(line.strip())) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
