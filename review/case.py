"""A case: what one entity did that was not simply approved, until somebody says what it was."""

from __future__ import annotations

import math
from datetime import datetime
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from review.review_policy import ReviewPolicy
from stream.records import Decision, Label, Outcome, Reason, Verdict, convert, from_micros, micros

Status = Literal["open", "proposed", "decided"]
Deed = Literal[
    "opened",
    "joined",
    "claimed",
    "released",
    "taken_over",
    "assigned",
    "snoozed",
    "woken",
    "noted",
    "evidence",
    "proposed",
    "disagreed",
    "decided",
    "confirmed",
    "reversed",
    "reopened",
    "undone",
]

SOURCE_PREFIX = "analyst:"
NAME_LIMIT = 64 - len(SOURCE_PREFIX)  # A label's source has at most 64 characters.
ID_LENGTH = 16
GRAVITY: dict[Outcome, int] = {"approve": 0, "review": 1, "decline": 2}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at: the flagged events of one entity (the card id) in one use case, the first of them first.

    `opened_at` is when the first event was flagged, `outcome` the strictest of them. `event_id`, `score`, `amount`,
    `currency` and `reasons` are those of its gravest event, the one with the highest score × amount; `expected_loss` is
    the sum of score × amount over all its events, in units of the currency as it is (nothing is converted). `rules` are
    all that fired. A case that was reopened is open and still shows its last verdict, who gave it and when.

    `due_at` is when its verdict is due, `rank` its place in the queue, the greatest first. One that is `proposed` has
    the verdict of one person and wants the same of another. A claim or a snooze may be over: see `holder` and
    `is_snoozed`. Until `undo_until` whoever decided (or proposed) last may take it back.
    """

    case_id: str
    use_case: str
    entity: str
    event_id: str
    merchant_id: str
    opened_at: datetime
    due_at: datetime
    outcome: Outcome
    score: float
    amount: float
    currency: str
    expected_loss: float
    rank: float
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    events: tuple[str, ...]
    status: Status = "open"
    verdict: Verdict | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    proposed: Verdict | None = None
    proposed_by: str | None = None
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    assigned_to: str | None = None
    snoozed_until: datetime | None = None
    undo_until: datetime | None = None

    def holder(self, now: datetime) -> str | None:
        """Who is at it, with a claim that is in force."""
        in_force = self.claimed_until is not None and self.claimed_until > now
        return self.claimed_by if in_force else None

    def is_snoozed(self, now: datetime) -> bool:
        """Whether it is out of the queue for now."""
        return self.snoozed_until is not None and self.snoozed_until > now


class Place(NamedTuple):
    """Where a case stood when it was read: the next page starts after it, whatever happened since.

    `key` is its rank, for a decided case the time of its verdict: these are listed from the newest verdict on.
    """

    key: float
    case_id: str

    @classmethod
    def of(cls, case: Case) -> Place:
        """The place of a case as it was read."""
        if case.status == "decided" and case.decided_at is not None:
            return cls(float(micros(case.decided_at)), case.case_id)
        return cls(case.rank, case.case_id)

    @property
    def text(self) -> str:
        """For a link.

        >>> Place.read(Place(-0.1, "4a424c6c7dd92a0f").text)
        Place(key=-0.1, case_id='4a424c6c7dd92a0f')
        """
        return f"{self.key!r}_{self.case_id}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place of a link. Raises `ValueError`."""
        key, found, case_id = text.partition("_")
        try:
            place = cls(float(key), case_id)
        except ValueError:
            place = cls(math.nan, "")
        # A time in microseconds is a whole number of 64 bits.
        if not found or not abs(place.key) < 2.0**63 or not 1 <= len(case_id) <= ID_LENGTH:
            raise ValueError(f"{text[:64]!r} is no place in the queue; begin at its first page")
        return place


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to a case, and when. `by` is None where the stream did it; `at` is then the time of scoring.

    `text` says more: to whom it was assigned, until when it was snoozed, what was noted, whose verdict was reversed.
    """

    case_id: str
    at: datetime
    by: str | None
    deed: Deed
    event_id: str | None = None
    verdict: Verdict | None = None
    text: str | None = None


def expected_loss(decision: Decision) -> float:
    """What letting this event pass would cost on average, in units of its currency."""
    return decision.score * decision.record.amount


def case_id_of(event_id: str) -> str:
    """The case that an event opens: the same again when the store is rebuilt from the log.

    >>> case_id_of("tx-1001")
    '4a424c6c7dd92a0f'
    """
    return blake2b(event_id.encode(), digest_size=8).hexdigest()


def shown(decision: Decision) -> Decision:
    """The decision as reviewers see it: an approval that was sampled looks like any other review."""
    return decision if decision.outcome != "approve" else msgspec.structs.replace(decision, outcome="review")


def opened_by(decision: Decision, policy: ReviewPolicy) -> Case:
    """The case that this decision opens."""
    decision = shown(decision)
    loss = expected_loss(decision)
    # Not the event's own time: what arrives late, or is played again, was not there to be looked at before.
    due_at_us = policy.due_at_us(micros(decision.scored_at), decision.outcome)
    return Case(
        case_id=case_id_of(decision.event_id),
        use_case=decision.use_case,
        entity=decision.key,
        event_id=decision.event_id,
        merchant_id=decision.record.merchant_id,
        opened_at=decision.scored_at,
        due_at=from_micros(due_at_us),
        outcome=decision.outcome,
        score=decision.score,
        amount=decision.record.amount,
        currency=decision.record.currency,
        expected_loss=loss,
        rank=policy.rank(loss, due_at_us),
        reasons=tuple(decision.reasons),
        rules=tuple(dict.fromkeys(decision.rules)),
        events=(decision.event_id,),
    )


def is_gravest(case: Case, decision: Decision) -> bool:
    """Whether this event would be the gravest of the case."""
    return expected_loss(decision) > case.score * case.amount


def joined_by(case: Case, decision: Decision, policy: ReviewPolicy) -> Case:
    """The case once another flagged event of its entity has joined it: due no later, and awake if it was snoozed."""
    if is_gravest(case, decision):
        case = msgspec.structs.replace(
            case,
            event_id=decision.event_id,
            merchant_id=decision.record.merchant_id,
            score=decision.score,
            amount=decision.record.amount,
            currency=decision.record.currency,
            reasons=tuple(decision.reasons),
        )
    outcome = max(case.outcome, decision.outcome, key=GRAVITY.__getitem__)
    loss = case.expected_loss + expected_loss(decision)
    due_at_us = min(micros(case.due_at), policy.due_at_us(micros(case.opened_at), outcome))
    return msgspec.structs.replace(
        case,
        outcome=outcome,
        due_at=from_micros(due_at_us),
        expected_loss=loss,
        rank=policy.rank(loss, due_at_us),
        rules=tuple(dict.fromkeys((*case.rules, *decision.rules))),
        events=(*case.events, decision.event_id),
        snoozed_until=None,
    )


def source_of(by: str) -> str:
    """The source of this analyst's labels. Raises `ValueError` for a name that cannot be one."""
    if not 1 <= len(by) <= NAME_LIMIT or by.isspace() or by.startswith("@"):
        raise ValueError(
            f"the name {by!r} cannot sign a verdict; use 1 to {NAME_LIMIT} characters, not only spaces, no @ first"
        )
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
