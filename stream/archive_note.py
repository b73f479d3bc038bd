"""How far an archive is complete: a note beside its files, for readers that have no log to ask.

A flush writes one file for each day; while it does, or where it crashed, a later day may already be there and an
earlier one not yet. Whoever takes the files up to an offset for all there was up to it must know where that holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from stream.log import Partition

NOTE_FILE = ".complete.json"
Complete = Mapping[tuple[str, Partition], int]


def read_note(directory: Path) -> dict[tuple[str, Partition], int]:
    """For each partition, by the name of its log, the offset up to which everything is archived.

    A partition that is not in it was last written before there were notes. Read it before the list of files: a note
    never promises more than the files hold that are listed after it.
    """
    try:
        content = (directory / NOTE_FILE).read_bytes()
    except FileNotFoundError:
        return {}
    found = msgspec.json.decode(content, type=dict[str, dict[str, dict[int, int]]])
    return {
        (log_name, Partition(topic, number)): last
        for log_name, topics in found.items()
        for topic, partitions in topics.items()
        for number, last in partitions.items()
    }


def write_note(directory: Path, complete: Complete) -> None:
    """Put a note in the old one's place, on the disk when this returns."""
    content: dict[str, dict[str, dict[int, int]]] = {}
    for (log_name, partition), last in complete.items():
        content.setdefault(log_name, {}).setdefault(partition.topic, {})[partition.number] = last
    new = directory / f"{NOTE_FILE}.new"
    with new.open("wb") as output:
        output.write(msgspec.json.encode(content))
        output.flush()
        os.fsync(output.fileno())
    new.replace(directory / NOTE_FILE)
