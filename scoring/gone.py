"""Which items are deleted, known with the very next request in every process, whoever else is down.

`scoring/catalogue.py` keeps the set of deleted items and a short stream of changes to it, numbered without a gap. Each
request reads what is new in that stream together with all else that it reads. Where the stream has lost entries that
this process never saw, the numbers say so, and the whole set is read again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from stream.connection import Command, RedisConnection, RedisError, Reply

DELETED_KEY = "items:deleted"
CHANGES_KEY = "items:changes"
COUNT_KEY = "items:changes:count"
KEPT_CHANGES = 10_000
READ_LIMIT = 1000
LATEST_LIMIT = 256
START = b"0-0"


class Gone:
    """The ids of deleted items. One thread asks and reads."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.latest: deque[str] = deque(maxlen=LATEST_LIMIT)
        """Those deleted last: whatever proposes items may not know of them yet."""
        self.is_whole = False
        """Whether the set was read since the last gap; until then something deleted may be missing."""
        self._position = START
        self._number = 0

    def command(self) -> Command:
        """What to ask in a request's first round trip; give the reply to `take`."""
        return ("XREAD", "COUNT", READ_LIMIT, "STREAMS", CHANGES_KEY, self._position)

    def take(self, reply: Reply) -> bool:
        """Take in what is new. False where that is not all there is: `read` then, before anything is answered."""
        if isinstance(reply, RedisError):
            raise reply
        entries = reply[0][1] if reply else ()
        for entry_id, fields in entries:
            number = int(fields[1])
            if number != self._number + 1:
                self.is_whole = False
            self._position, self._number = entry_id, number
            self._change(fields[3].decode(), fields[5] == b"1")
        return self.is_whole and len(entries) < READ_LIMIT

    def read(self, connection: RedisConnection, timeout_ms: float | None = None) -> None:
        """Read the whole set, and from where on changes are new. Raises `RedisUnavailable` and `RedisError`."""
        # The last change first: one that comes between the two is in the set, and is read again.
        last, count = _sound(
            connection.call([("XREVRANGE", CHANGES_KEY, "+", "-", "COUNT", 1), ("GET", COUNT_KEY)], timeout_ms)
        )
        (members,) = _sound(connection.call([("SMEMBERS", DELETED_KEY)], timeout_ms))
        self.ids = {member.decode() for member in members}
        self._position, self._number = (last[0][0], int(last[0][1][1])) if last else (START, int(count or 0))
        self.is_whole = True

    def _change(self, item_id: str, is_deleted: bool) -> None:
        if item_id in self.latest:
            self.latest.remove(item_id)
        if is_deleted:
            self.ids.add(item_id)
            self.latest.append(item_id)
        else:
            self.ids.discard(item_id)


def _sound(replies: list[Reply]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    return replies
