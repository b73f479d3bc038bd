"""A client's batch: what still waits for an answer, and the answers there are."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.client_call import (
    BatchItem,
    Call,
    Decision,
    HeadraceError,
    RefusalBody,
    Unavailable,
    UnexpectedAnswer,
    of_refusal,
    read,
)
from stream.records import Transaction, encode

Answered = Decision | HeadraceError


class Batch:
    """The records of a batch that still wait for an answer, and the answers there are."""

    def __init__(self, transactions: Sequence[Transaction]) -> None:
        self._bodies = [encode(one) for one in transactions]
        self._waiting = list(range(len(self._bodies)))
        self._found: list[Answered | None] = [None] * len(self._bodies)

    def body(self) -> bytes:
        """What is to be sent."""
        return b"[" + b",".join(self._bodies[place] for place in self._waiting) + b"]"

    def take(self, content: bytes, call: Call) -> list[Answered] | None:
        """All answers once there is one for each; None where some are worth another try."""
        items = read(content, list[BatchItem])
        if len(items) != len(self._waiting):
            raise UnexpectedAnswer(f"{len(items)} answers to {len(self._waiting)} records")
        left = []
        for place, item in zip(self._waiting, items, strict=True):
            refusal = item.refusal or RefusalBody()
            if item.decision is not None:
                self._found[place] = item.decision
            elif item.status == 503:
                left.append(place)
                self._found[place] = Unavailable(refusal.message, call.tries)
            else:
                self._found[place] = of_refusal(item.status, refusal)
        self._waiting = left
        return None if left else self.answers()

    def answers(self) -> list[Answered]:
        """What there is: each has an answer, if only that there is none yet."""
        return [Unavailable("no answer in time", 0) if one is None else one for one in self._found]

    @property
    def begun(self) -> bool:
        """Whether any answer has come."""
        return any(one is not None for one in self._found)
