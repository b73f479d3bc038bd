"""The end of a soak: wait until everybody has read everything, stop, and count."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from bench.figures import Figure, Figures
from bench.soak_call import Said
from bench.soak_count import Books, compare, read_log
from bench.soak_stores import compare_archive, compare_chain, compare_states
from features.pipeline import GROUP as WORKER_GROUP
from headrace.assembly import open_outbox
from headrace.stack import Stack
from review.queue_keeper import GROUP as REVIEW_GROUP
from scoring.use_case import FRAUD
from stream.connection import RedisError, RedisUnavailable
from stream.decision_keeper import GROUP as AUDIT_GROUP
from stream.log import Log, LogUnavailable, lag
from stream.records import Decision, Label, Transaction
from training.learner_loop import GROUP as LEARNER_GROUP

DRAIN_LIMIT_S = 300.0
STOP_GRACE_S = 30.0
EXAMPLES = 3
READERS = (
    (WORKER_GROUP, Transaction.topic),
    (WORKER_GROUP, Label.topic),
    (LEARNER_GROUP, Decision.topic),
    (LEARNER_GROUP, Label.topic),
    (REVIEW_GROUP, Decision.topic),
    (AUDIT_GROUP, Decision.topic),
)


class NotDrained(RuntimeError):
    """Something was still not read or recorded long after the last call."""


def count(stack: Stack, said: Sequence[Said]) -> Figures:
    """Wait until all is read and recorded, end all processes but Redis, compare."""
    drained_s = _drain(stack)
    ended_early = stack.failed()
    for name in reversed(list(stack.children)):
        stack.children.pop(name).stop(STOP_GRACE_S)
    logged = read_log(stack.settings)
    books = compare(said, logged)
    states = compare_states(stack.settings)
    archive, chain = compare_archive(stack.settings, logged), compare_chain(stack.settings, logged)
    note = f"{states.entities:,} entities, {states.beyond:,} views beyond the row budget by counts and sums"
    return books_figures(books) | {
        "drained": Figure(drained_s, "s", None, "lower", "until the last answer was read by every group"),
        "states that differ from a clean fold": _none(states.wrong, note),
        "differences of the archive": _none(archive),
        "differences of the audit chain": _none(chain),
        "processes that ended by themselves": _none(ended_early),
    }


def _drain(stack: Stack) -> float:
    began_s = time.monotonic()
    spool = stack.home / "spool" / FRAUD.name
    with closing(open_outbox(stack.settings)) as log:
        while left := [*(file.name for file in spool.glob("*.spool")), *_unread(log)]:
            if time.monotonic() - began_s > DRAIN_LIMIT_S:
                raise NotDrained(f"after {DRAIN_LIMIT_S:g} s there is still to do: {', '.join(left)}")
            time.sleep(0.25)
    return time.monotonic() - began_s


def books_figures(books: Books) -> Figures:
    """What was counted against the log: what has a budget must be 0."""
    superseded = "marked `not recorded yet`, of events decided before by another call or an unheard try"
    return {
        "answered": Figure(books.answered, "events", None, "higher"),
        "accepted": Figure(books.accepted, "records", None, "higher", "events without a score, and labels"),
        "lost": _none(books.lost),
        "doubled": _none(books.doubled),
        "decisions other than answered": _none(books.differing),
        "in the log, never sent": _none(books.strangers),
        "answers that were superseded": Figure(len(books.superseded), "", None, "lower", superseded),
    }


def _none(wrong: Sequence[str], note: str = "") -> Figure:
    """A count that must be 0, with examples."""
    return Figure(len(wrong), "", 0.0, "lower", "; ".join([*([note] if note else []), *wrong[:EXAMPLES]]))


def _unread(log: Log) -> list[str]:
    try:
        return [f"{topic} by {group}" for group, topic in READERS if any(lag(log, group, topic).values())]
    except (LogUnavailable, RedisUnavailable, RedisError) as error:
        return [str(error)]
