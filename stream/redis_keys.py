"""How the Redis log names things: keys, and offsets as stream ids.

Trap: an offset has 20 bits for the entries of one millisecond. Only a clock set back lets Redis number more
(it goes on counting in the last millisecond it saw); `offset_of` then refuses rather than lose order.
"""

from __future__ import annotations

from typing import Any

from stream.log import Entry

SEQUENCE_BITS = 20
SEQUENCE_LIMIT = 1 << SEQUENCE_BITS

TOPICS_KEY = "log:topics"


def stream_key(topic: str, partition_number: int) -> str:
    """The stream that holds one partition.

    >>> stream_key("transactions", 3)
    'log:transactions:3'
    """
    return f"log:{topic}:{partition_number}"


def groups_key(topic: str) -> str:
    """The set of all groups that ever joined the topic."""
    return f"log:{topic}:groups"


def members_key(group: str, topic: str) -> str:
    """The sorted set of a group's members by their last heartbeat, server time in ms."""
    return f"group:{group}:{topic}:members"


def lease_key(group: str, topic: str, partition_number: int) -> str:
    """Which member holds the partition; expires with the lease."""
    return f"group:{group}:{topic}:lease:{partition_number}"


def offsets_key(group: str, topic: str) -> str:
    """The hash of committed offsets by partition number."""
    return f"group:{group}:{topic}:offsets"


def offset_of(entry_id: bytes) -> int:
    """The offset that stands for a stream id: `(ms << 20) | seq`.

    >>> offset_of(b"1-2")
    1048578
    """
    ms, _, seq = entry_id.partition(b"-")
    if int(seq) >= SEQUENCE_LIMIT:
        raise OverflowError(
            f"stream id {entry_id.decode()} is past {SEQUENCE_LIMIT} entries in one millisecond; "
            "the Redis server's clock was set back: wait until it has caught up"
        )
    return (int(ms) << SEQUENCE_BITS) | int(seq)


def stream_id(offset: int) -> str:
    """The stream id that an offset stands for.

    >>> stream_id(1048578)
    '1-2'
    """
    return f"{offset >> SEQUENCE_BITS}-{offset & (SEQUENCE_LIMIT - 1)}"


def id_before(offset: int) -> str:
    """The stream id that `XREAD` must be given to answer from `offset` on: it excludes its argument.

    >>> id_before(1 << 20), id_before(0)
    ('0-1048575', '0-0')
    """
    return stream_id(max(0, offset - 1))


def entries_of(reply: list[Any]) -> list[Entry]:
    """The entries of one stream, from the reply to XRANGE or from one stream's part of a reply to XREAD."""
    return [Entry(offset_of(entry_id), fields[1].decode(), fields[3]) for entry_id, fields in reply]
