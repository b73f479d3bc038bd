"""From what a poll gave to what the learner applies: skip what it has, decode the rest, set aside the unreadable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stream.dead_letter import dead_letter
from stream.invalid_record import InvalidRecord
from stream.log import Entry, Message, Partition, message_of
from stream.records import Decision, Label, decode


class Intake(NamedTuple):
    """The new records of one poll, in order; the unreadable ones as dead letters; and where to go on afterwards."""

    decisions: list[Decision]
    labels: list[Label]
    refused: list[Message]
    next_offsets: dict[Partition, int]


def take_in(polled: Mapping[Partition, Sequence[Entry]], offset_of: Callable[[Partition], int]) -> Intake:
    """Decode what lies at or after each partition's own offset.

    Partitions are taken by topic and number, so that the same entries always come in the same order. A record that
    cannot be read, or is on the other's topic (a label there would have no place in the one order of labels), becomes a
    dead letter whose id is its place: appended twice, it is still one.
    """
    intake = Intake([], [], [], {})
    for partition in sorted(polled):
        start = offset_of(partition)
        for entry in polled[partition]:
            if entry.offset >= start:
                _sort_in(intake, partition, entry)
        intake.next_offsets[partition] = max([start, *(entry.offset + 1 for entry in polled[partition])])
    return intake


def _sort_in(intake: Intake, partition: Partition, entry: Entry) -> None:
    try:
        if partition.topic == Label.topic:
            intake.labels.append(decode(entry.value, Label))
        else:
            intake.decisions.append(decode(entry.value, Decision))
    except InvalidRecord as error:
        intake.refused.append(message_of(dead_letter(partition, entry, str(error), by="learner")))
