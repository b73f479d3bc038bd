"""How cases are reviewed: how soon, how long one may be held, what is undone, what is sampled and who must agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from stream.records import Outcome

FILE = Path(__file__).with_name("review.toml")

Positive = Annotated[float, Meta(gt=0.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class InvalidReviewPolicy(ValueError):
    """The file cannot be used. A retry cannot help."""


class Sla(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Within how many seconds of its first event a case wants its verdict, by outcome."""

    decline: Positive = 4 * 3600.0
    review: Positive = 24 * 3600.0

    def seconds(self, outcome: Outcome) -> float:
        """For this outcome; a sampled approval looks like a review."""
        return self.decline if outcome == "decline" else self.review


class ReviewPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of `review/review.toml`.

    Twice the expected loss weighs as much in the queue as being due `halving_s` earlier. A claim that is idle for
    `claim_idle_s` is free for others. A page's verdict can be undone for `undo_s`: so long its labels wait. Of approved
    events, `audit_share` are reviewed unmarked. Above `four_eyes_above` a verdict needs two people (None: never).
    With `lists_four_eyes` so does a change, on the pages, of a list that a live rule asks.
    """

    sla_s: Sla = Sla()
    halving_s: Positive = 4 * 3600.0
    claim_idle_s: Positive = 600.0
    undo_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 20.0
    audit_share: Share = 0.0
    four_eyes_above: Annotated[float, Meta(ge=0.0)] | None = None
    lists_four_eyes: bool = True

    def due_at_us(self, opened_at_us: int, outcome: Outcome) -> int:
        """When a case that was opened then should have its verdict."""
        return opened_at_us + round(self.sla_s.seconds(outcome) * 1e6)

    def rank(self, expected_loss: float, due_at_us: int) -> float:
        """The place in the queue, the greatest first. All cases age alike, so that no rank changes with time.

        >>> policy = ReviewPolicy()
        >>> hour_us = 3_600_000_000
        >>> policy.rank(200.0, 4 * hour_us) == policy.rank(100.0, 0)
        True
        """
        return math.log2(max(expected_loss, 0.01)) - due_at_us / (self.halving_s * 1e6)


def load_policy(path: Path | str = "") -> ReviewPolicy:
    """The policy of a file; of the project's own where none is named. Raises `InvalidReviewPolicy`."""
    where = Path(path) if path else FILE
    try:
        return msgspec.toml.decode(where.read_bytes(), type=ReviewPolicy)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise InvalidReviewPolicy(
            f"the review policy {where} cannot be used: {error}; see review/review.toml"
        ) from None
