"""Actions that go on arriving while something is measured: `python -m bench.recommend_appending URL ITEMS VISITORS`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random

from stream.connection import RedisConnection
from stream.records import Action, encode
from stream.sequence import NO_MARK, Sequence

APPENDED_PER_S = 100
SOURCE = "redis/actions/0"


@contextmanager
def appending(url: str, items: int, visitors: int) -> Iterator[None]:
    """For so long a process of its own appends actions to the sequence, as a sequencer would."""
    child = subprocess.Popen([sys.executable, "-m", "bench.recommend_appending", url, str(items), str(visitors)])
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def append(url: str, items: int, visitors: int) -> None:
    """Append actions until somebody ends this process."""
    random = Random(3)
    with RedisConnection(url) as connection:
        sequence = Sequence(connection)
        mark = sequence.marks().get(SOURCE, NO_MARK)
        while True:
            user, item = f"user-{random.randrange(visitors)}", f"item-{random.randrange(items)}"
            now = datetime.now(UTC)
            action = Action(event_id=f"a-{mark}", event_timestamp=now, action="click", user_id=user, item_id=item)
            sequence.append(SOURCE, mark, [(mark + 1, encode(action))])
            mark += 1
            time.sleep(1 / APPENDED_PER_S)


if __name__ == "__main__":
    append(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
