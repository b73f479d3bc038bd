"""A case: what one entity did that was not simply approved, until somebody says what it was."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from stream.records import Decision, Label, Outcome, Reason, Verdict, convert, micros

Status = Literal["open", "decided"]
Deed = Literal["opened", "joined", "decided", "confirmed", "reversed", "reopened"]

SOURCE_PREFIX = "analyst:"
NAME_LIMIT = 64 - len(SOURCE_PREFIX)  # A label's source has at most 64 characters.
GRAVITY: dict[Outcome, int] = {"approve": 0, "review": 1, "decline": 2}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at: the flagged events of one entity (the card id) in one use case, the first of them first.

    `opened_at` is the time of the first event. `outcome` is the strictest of its events. `event_id`, `score`, `amount`,
    `currency` and `reasons` are those of its gravest event, the one with the highest score × amount; `expected_loss` is
    the sum of score × amount over all its events, in units of the currency as it is (nothing is converted). `rules` are
    all that fired. A case that was reopened is open and still shows its last verdict, who gave it and when.
    """

    case_id: str
    use_case: str
    entity: str
    event_id: str
    opened_at: datetime
    outcome: Outcome
    score: float
    amount: float
    currency: str
    expected_loss: float
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    events: tuple[str, ...]
    status: Status = "open"
    verdict: Verdict | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


class Place(NamedTuple):
    """Where a case stood in the queue when it was read: the next page starts after it, whatever happened since."""

    expected_loss: float
    opened_at_us: int
    case_id: str

    @classmethod
    def of(cls, case: Case) -> Place:
        """The place of a case as it was read."""
        return cls(case.expected_loss, micros(case.opened_at), case.case_id)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to a case, and when. `by` is None where the stream did it; `at` is then the time of scoring."""

    case_id: str
    at: datetime
    by: str | None
    deed: Deed
    event_id: str | None = None
    verdict: Verdict | None = None


def expected_loss(decision: Decision) -> float:
    """What letting this event pass would cost on average, in units of its currency."""
    return decision.score * decision.record.amount


def case_id_of(event_id: str) -> str:
    """The case that an event opens: the same again when the store is rebuilt from the log.

    >>> case_id_of("tx-1001")
    '4a424c6c7dd92a0f'
    """
    return blake2b(event_id.encode(), digest_size=8).hexdigest()


def opened_by(decision: Decision) -> Case:
    """The case that this decision opens."""
    return Case(
        case_id=case_id_of(decision.event_id),
        use_case=decision.use_case,
        entity=decision.key,
        event_id=decision.event_id,
        opened_at=decision.event_timestamp,
        outcome=decision.outcome,
        score=decision.score,
        amount=decision.record.amount,
        currency=decision.record.currency,
        expected_loss=expected_loss(decision),
        reasons=tuple(decision.reasons),
        rules=tuple(dict.fromkeys(decision.rules)),
        events=(decision.event_id,),
    )


def joined_by(case: Case, decision: Decision) -> Case:
    """The case once another flagged event of its entity has joined it."""
    if expected_loss(decision) > case.score * case.amount:
        case = msgspec.structs.replace(
            case,
            event_id=decision.event_id,
            score=decision.score,
            amount=decision.record.amount,
            currency=decision.record.currency,
            reasons=tuple(decision.reasons),
        )
    return msgspec.structs.replace(
        case,
        outcome=max(case.outcome, decision.outcome, key=GRAVITY.__getitem__),
        expected_loss=case.expected_loss + expected_loss(decision),
        rules=tuple(dict.fromkeys((*case.rules, *decision.rules))),
        events=(*case.events, decision.event_id),
    )


def source_of(by: str) -> str:
    """The source of this analyst's labels. Raises `ValueError` for a name that cannot be one."""
    if not 1 <= len(by) <= NAME_LIMIT or by.isspace():
        raise ValueError(f"the name {by!r} cannot sign a verdict; use 1 to {NAME_LIMIT} characters, not only spaces")
    return SOURCE_PREFIX + by


def label_of(decision: Decision, verdict: Verdict, by: str, at: datetime) -> Label:
    """What the verdict says of one event. Raises `InvalidRecord` for a verdict or a time that no label can have."""
    payment = decision.record
    fields = {
        "type": "label",
        "event_id": decision.event_id,
        "label": verdict,
        "labelled_at": at,
        "source": source_of(by),
        "event_timestamp": decision.event_timestamp,
        "card_id": payment.card_id,
        "merchant_id": payment.merchant_id,
        "device_id": payment.device_id,
        "amount": payment.amount,
    }
    return convert(fields, Label)
