"""Dead letters: what could not be used is kept with its bytes, and its id is its place, so appended twice it is one."""

from __future__ import annotations

from stream.log import Entry, Partition
from stream.records import DeadLetter

ID_LIMIT = 128


def dead_letter(partition: Partition, entry: Entry, reason: str, by: str = "") -> DeadLetter:
    """The letter for an entry. `by` is who refuses it, where several read the same topic for different ends.

    >>> dead_letter(Partition("labels", 0), Entry(7, "k", b"?"), "it is no JSON", by="learner").event_id
    'learner/labels/0/7'
    """
    place = f"{partition.topic}/{partition.number}/{entry.offset}"
    return DeadLetter(
        event_id=(f"{by}/{place}" if by else place)[-ID_LIMIT:],
        from_topic=partition.topic,
        partition=partition.number,
        offset=entry.offset,
        reason=reason,
        payload=entry.value,
    )
