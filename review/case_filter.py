"""What part of the cases is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stream.records import Outcome

ME, NOBODY = "@me", "@nobody"
"""Words for `assigned_to` that are no names: no name begins with @."""

TEXT_LIMIT = 128
LOSS_LIMIT = 1e15

Word = Annotated[str, Meta(max_length=TEXT_LIMIT)]


class QueueFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is given must hold; what is left as it is asks nothing.

    `text` is the beginning of an id, or of a part of one, in capitals or not: see `review.terms`. "snoozed" cases are
    open but out of the queue for now. `claimed` and `ME` speak of whoever asks, so that a shared view fits everybody.
    """

    text: Word = ""
    status: Literal["open", "snoozed", "proposed", "decided"] = "open"
    outcome: Outcome | None = None
    use_case: Word | None = None
    rule: Word | None = None
    assigned_to: Word | None = None
    claimed: Literal["any", "mine", "free"] = "any"
    min_loss: Annotated[float, Meta(ge=0.0, le=LOSS_LIMIT)] | None = None
    overdue: bool = False
