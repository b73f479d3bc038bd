"""The batch door: many records in one request, each answered in its place as if it had come alone.

The records are scored one after another, in their order, by the scorer of the single door: a later event of a card sees
the earlier ones, and the same event id twice has one decision. A batch is to the others like one client that sends its
next record when it has its answer (`scoring/rounds.py`): single scores need not wait for it, nor it for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from prometheus_client import Counter

from scoring.api import JSON, Answer, Api, Post, refusal
from scoring.rounds import Rounds
from stream.card_numbers import mask_bytes

LINES = b"application/x-ndjson"
LINES_TYPES = frozenset({LINES, b"application/ndjson", b"application/jsonl"})
RECORDS = Counter("headrace_batch_records", "Records of batches, by the status of each.", ("status",))
_arrays = msgspec.json.Decoder(list[msgspec.Raw])


class Bounds(NamedTuple):
    """How large a batch may be, and how long it may take where `X-Deadline-Ms` does not say."""

    records: int = 500
    body_bytes: int = 1 << 20
    deadline_ms: float = 5000.0


USUAL = Bounds()


class InvalidBatch(ValueError):
    """A body that is no batch: no record of it was looked at."""


class BatchDoor:
    """Answers batches over one scorer, on the loop that answers single scores too."""

    def __init__(self, bounds: Bounds = USUAL, rounds: Rounds | None = None) -> None:
        self.bounds = bounds
        self._rounds = Rounds() if rounds is None else rounds

    async def answer(
        self,
        api: Api,
        body: bytes,
        content_type: bytes = JSON,
        deadline_ms: float | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Answer | None:
        """A list with `{"status": 200, "decision": ...}` or `{"status": 4xx or 503, "refusal": ...}` for each record.

        `body` is a JSON array, or by its content type one record a line (NDJSON; the answer is then, too). The deadline
        is that of the whole batch: what it does not reach is refused with a 503, not recorded, and can be sent again.
        A batch that cannot be read, or has too many records, is refused whole with a 400 or 413. Once it is not wanted
        any more (its client has left), the rest is left alone, and there is no answer.
        """
        ends_at = time.perf_counter() + (self.bounds.deadline_ms if deadline_ms is None else deadline_ms) / 1000
        lines = is_lines(content_type)
        try:
            bodies = records_of(body, lines)
        except InvalidBatch as error:
            remedy = "send a JSON array of records, or one record a line as application/x-ndjson"
            value = repr(mask_bytes(body)[:40])
            return refusal(400, "invalid", f"{error}; {remedy}", field="(body)", value=value, remedy=remedy)
        if len(bodies) > self.bounds.records:
            text = f"a batch has at most {self.bounds.records} records, this one has {len(bodies)}; send several"
            return refusal(413, "too large", text)
        api.observed.batch(len(bodies))
        items = []
        for one in bodies:
            left_ms = (ends_at - time.perf_counter()) * 1000
            if not is_wanted():
                return None
            if left_ms <= 0:
                answer = _late()
            else:
                answer = await self._rounds.score(api, Post(one, max(1.0, min(left_ms, api.deadline_ms))))
                await asyncio.sleep(0)
            RECORDS.labels(str(answer.status)).inc()
            items.append(_item(answer))
        if lines:
            return Answer(200, b"".join(item + b"\n" for item in items), content_type=LINES)
        return Answer(200, b"[" + b",".join(items) + b"]")


def is_lines(content_type: bytes) -> bool:
    """Whether a body of this type has one record a line."""
    return content_type.partition(b";")[0].strip().lower() in LINES_TYPES


def records_of(body: bytes, lines: bool) -> list[bytes]:
    """The bytes of each record, which may still be anything. Empty lines count for nothing. Raises `InvalidBatch`.

    >>> records_of(b'[{"a": 1}, 2]', lines=False)
    [b'{"a": 1}', b'2']
    """
    if lines:
        return [line for line in body.splitlines() if line.strip()]
    try:
        return [bytes(one) for one in _arrays.decode(body)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidBatch(f"the body is no batch: {error}") from None


def _late() -> Answer:
    return refusal(503, "deadline passed", "the time of the batch was over before this record; send it again", 1)


def _item(answer: Answer) -> bytes:
    return b'{"status":%d,"%b":%b}' % (answer.status, b"decision" if answer.status == 200 else b"refusal", answer.body)
