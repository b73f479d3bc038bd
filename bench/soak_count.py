"""The books of a soak: what the clients were told, against what the log holds. Pure, so that it can be seen to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.soak_call import Answered, Said
from headrace.assembly import open_outbox
from headrace.settings import Settings
from stream.log import Entry, Log, Partition
from stream.records import Decision, Label, Transaction, decode

CHUNK = 5000
NOT_RECORDED = "not recorded yet"


class Verdict(NamedTuple):
    """What was decided of one event."""

    outcome: str
    score: float


@dataclass
class Logged:
    """What the log holds: how often each event and label, and every decision of each event."""

    events: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    decisions: dict[str, list[Verdict]] = field(default_factory=dict)


@dataclass
class Books:
    """What does not agree, in words, one for each event or label."""

    answered: int = 0
    """Events whose score a client has."""
    accepted: int = 0
    """Events and labels that a client was told are accepted."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    """A client has an answer with another outcome or score than the log's."""
    superseded: list[str] = field(default_factory=list)
    """As that, but the answer said `not recorded yet`, and the event may have been decided before, by another call or
    by a try whose answer the client never heard: without Redis nobody could know, and the first decision counts."""
    strangers: list[str] = field(default_factory=list)
    """In the log, but no client sent them."""

    @property
    def clean(self) -> bool:
        """Whether everything agrees that can."""
        return not (self.lost or self.doubled or self.differing or self.strangers)


def read_log(settings: Settings) -> Logged:
    """All that the log in Redis holds; nothing of it may have been trimmed."""
    log = open_outbox(settings)
    try:
        found = Logged()
        for entry in entries_of(log, Transaction.topic):
            found.events[decode(entry.value, Transaction).event_id] += 1
        for entry in entries_of(log, Label.topic):
            found.labels[decode(entry.value, Label).identity] += 1
        for entry in entries_of(log, Decision.topic):
            decision: Decision = decode(entry.value, Decision)
            found.decisions.setdefault(decision.event_id, []).append(Verdict(decision.outcome, decision.score))
        return found
    finally:
        log.close()


def entries_of(log: Log, topic: str) -> Iterator[Entry]:
    """Every entry of a topic, partition by partition."""
    for number in range(log.partitions(topic)):
        yield from entries(log, Partition(topic, number))


def entries(log: Log, partition: Partition) -> Iterator[Entry]:
    """Every entry of one partition."""
    start = 0
    while found := log.read(partition, start, CHUNK):
        yield from found
        start = found[-1].offset + 1


def compare(said: Iterable[Said], logged: Logged) -> Books:
    """Each answered event is once in the log with one decision, the one that was answered; nothing else is there."""
    sent: set[str] = set()
    sent_labels: set[str] = set()
    answers: dict[str, list[Answered]] = {}
    unheard: set[str] = set()
    accepted: set[str] = set()
    labelled: set[str] = set()
    for one in said:
        (sent_labels if one.kind == "label" else sent).update(one.ids)
        if one.refusals or one.status == 0:
            unheard.update(one.ids)
        if one.status == 202:
            (labelled if one.kind == "label" else accepted).update(one.ids)
        if one.status == 200:
            for event_id, answer in zip(one.ids, one.answers, strict=True):
                if answer.status == 200:
                    answers.setdefault(event_id, []).append(answer)
    books = Books(len(answers), len(accepted) + len(labelled))
    books.lost += [f"event {event_id}" for event_id in {*answers, *accepted} if not logged.events[event_id]]
    books.lost += [f"label {identity}" for identity in labelled if not logged.labels[identity]]
    for event_id, given in answers.items():
        _compare_answers(books, event_id, given, logged.decisions.get(event_id, []), event_id in unheard)
    decided = {event_id: len(found) for event_id, found in logged.decisions.items()}
    _count_surplus(books, "event", sent, logged.events)
    _count_surplus(books, "label", sent_labels, logged.labels)
    _count_surplus(books, "decision of", sent, decided)
    return books


def _compare_answers(
    books: Books, event_id: str, given: Sequence[Answered], found: Sequence[Verdict], is_unheard: bool
) -> None:
    if not found:
        books.lost.append(f"decision of {event_id}")
        return
    others = [one for one in given if Verdict(one.outcome, one.score) != found[0]]
    if not others:
        return
    text = f"{event_id} was answered {others[-1].outcome} {others[-1].score}, the log has {found[0]}"
    may_be_second = is_unheard or len(others) < len(given)
    is_told = all(NOT_RECORDED in one.degraded for one in others)
    (books.superseded if may_be_second and is_told else books.differing).append(text)


def _count_surplus(books: Books, what: str, sent: set[str], counts: Mapping[str, int]) -> None:
    books.strangers += [f"{what} {identity}" for identity in counts if identity not in sent]
    books.doubled += [f"{what} {identity}: {count} times" for identity, count in counts.items() if count > 1]
