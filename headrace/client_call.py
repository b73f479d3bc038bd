"""One call of a client: its time, its tries, and what its answers mean. No I/O, so both clients share it.

Every request to Headrace is idempotent: an event id has one decision, a label one verdict. So whatever may have been
lost on the way is sent again, the same bytes, as long as the call's time lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random
from typing import TypeVar
from urllib.parse import quote

import msgspec

from stream.invalid_record import InvalidRecord
from stream.records import Decision as ServedDecision
from stream.records import Transaction, decode

WORTH_ANOTHER_TRY = frozenset({429, 502, 503, 504})
TRIES = 4
FIRST_PAUSE_S = 0.01
PAUSE_LIMIT_S = 1.0
SERVER_SHARE = 0.9
"""Of an attempt's time, what the service is given for the answer; the rest is for the way."""
DEADLINE_LIMIT_MS = 10_000.0

Clock = Callable[[], float]
_random = Random()
T = TypeVar("T")


class HeadraceError(Exception):
    """Whatever went wrong with a call."""


class Refused(HeadraceError):
    """The service did not take it; sent again as it is, it never will. What and why: `field`, `value`, `remedy`.

    `status` is HTTP's, `error` a short word for the kind (`invalid`, `conflict`, `too large`). A part that the service
    did not give is empty.
    """

    def __init__(
        self, status: int, error: str, message: str, field: str = "", value: str = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy


class InvalidRequest(Refused):
    """A field has a value that cannot be used, or the body is too large."""


class NotAllowed(Refused):
    """The API key is missing or not taken (401), or may not do this (403)."""


class EventConflict(Refused):
    """The event id was used before, for another record."""


class Unavailable(HeadraceError):
    """No answer within the call's time. It may be recorded all the same: send it again later, with the same event id.

    `retry_after_s` is how long the service asked to wait, where it did.
    """

    def __init__(self, message: str, tries: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.tries = tries
        self.retry_after_s = retry_after_s


class UnexpectedAnswer(HeadraceError):
    """An answer that no Headrace gives: another server, or another version of it."""


class Sent(Transaction, frozen=True, kw_only=True, tag="transaction", forbid_unknown_fields=False):
    """The transaction as the service has it. A newer service may know more fields."""


class Decision(ServedDecision, frozen=True, kw_only=True, tag="decision", forbid_unknown_fields=False):
    """The answer to one transaction. A newer service may say more: what this version does not know is left out."""

    record: Sent


class RefusalBody(msgspec.Struct):
    """A refusal as the service sends it."""

    error: str = ""
    message: str = ""
    field: str = ""
    value: str = ""
    remedy: str = ""


class BatchItem(msgspec.Struct):
    """One record's part of the answer to a batch."""

    status: int
    decision: Decision | None = None
    refusal: RefusalBody | None = None


class AcceptedBody(msgspec.Struct):
    """The answer to an event or a label."""

    status: str


class Paths:
    """Where the service takes what."""

    def __init__(self, use_case: str) -> None:
        self.score = f"/{use_case}/score"
        self.batch = f"/{use_case}/score/batch"
        self.events = "/events"
        self.labels = "/labels"

    @staticmethod
    def decision(event_id: str) -> str:
        """Also for an id with a slash."""
        return f"/decisions/{quote(event_id, safe='')}"


class Call:
    """One call within its time. Ask for `attempt_s`, send, then tell it what came of it: `take` or `lost`.

    The time of the whole call, `deadline_ms`, is shared out: an attempt has half of what is left, the last one all of
    it, so that one lost packet does not use up everything.
    """

    def __init__(self, deadline_ms: float, clock: Clock = time.monotonic, random: Random = _random) -> None:
        if not deadline_ms >= 1:
            raise ValueError(f"deadline_ms is {deadline_ms}; give at least 1")
        self.deadline_ms = deadline_ms
        self.tries = 0
        self._clock = clock
        self._random = random
        self._ends_at = clock() + deadline_ms / 1000
        self._why = ""
        self._retry_after_s: float | None = None

    @property
    def left_s(self) -> float:
        """What is left of its time."""
        return self._ends_at - self._clock()

    def attempt_s(self) -> float:
        """How long the next attempt may take. Raises `Unavailable` where there may be none."""
        left_s = self.left_s
        if self.tries >= TRIES or left_s <= 0:
            raise self._unavailable()
        self.tries += 1
        return left_s if self.tries == TRIES else left_s / 2

    @staticmethod
    def header(attempt_s: float) -> str:
        """`X-Deadline-Ms` of an attempt."""
        return f"{min(DEADLINE_LIMIT_MS, max(1.0, attempt_s * 1000 * SERVER_SHARE)):.0f}"

    def take(self, status: int, headers: Mapping[str, str], content: bytes) -> bytes | None:
        """The body of a good answer, None where another try may help. Raises `Refused` where none can."""
        if status in (200, 202):
            return content
        if status in WORTH_ANOTHER_TRY:
            self._why = f"{status}: {_refusal(content).message or content[:200].decode(errors='replace')}"
            self._retry_after_s = _seconds(headers.get("retry-after"))
            return None
        raise refused(status, content)

    def lost(self, error: Exception) -> None:
        """There was no answer: the connection failed, or the time of the attempt was over."""
        self._why = f"{type(error).__name__}: {error}".rstrip(": ")
        self._retry_after_s = None

    def pause_s(self) -> float:
        """How long to wait before the next attempt: ever longer, at random, at least what the service asked for.

        Raises `Unavailable` at once where the time would be over by then.
        """
        longest_s = min(PAUSE_LIMIT_S, FIRST_PAUSE_S * 2.0 ** (self.tries - 1))
        pause_s = self._random.uniform(longest_s / 2, longest_s) + (self._retry_after_s or 0.0)
        if self.tries >= TRIES or pause_s >= self.left_s:
            raise self._unavailable()
        return pause_s

    def _unavailable(self) -> Unavailable:
        text = f"no answer within {self.deadline_ms:g} ms and {self.tries} tries; the last: {self._why or 'none'}"
        return Unavailable(text, self.tries, self._retry_after_s)


def refused(status: int, content: bytes) -> HeadraceError:
    """What an answer that is neither good nor worth another try means."""
    return of_refusal(status, _refusal(content), content)


def of_refusal(status: int, body: RefusalBody, content: bytes = b"") -> HeadraceError:
    """The error of a refusal's body."""
    if body.error and status in (401, 403):
        return NotAllowed(status, body.error, body.message, body.field, body.value, body.remedy)
    if not body.error or status not in (400, 404, 409, 413):
        return UnexpectedAnswer(f"status {status}: {content[:200].decode(errors='replace')}")
    kind = EventConflict if status == 409 else Refused if status == 404 else InvalidRequest
    return kind(status, body.error, body.message, body.field, body.value, body.remedy)


def read(content: bytes, kind: type[T]) -> T:
    """The body of a good answer. Raises `UnexpectedAnswer`."""
    try:
        found: T = decode(content, kind)
    except InvalidRecord as error:
        raise UnexpectedAnswer(str(error)) from None
    return found


def _refusal(content: bytes) -> RefusalBody:
    try:
        return msgspec.json.decode(content, type=RefusalBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return RefusalBody()


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in seconds; None where there is none, or it is a date (no Headrace sends one)."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
