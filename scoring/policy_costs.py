"""What outcomes cost: the numbers of a policy, and the expected costs that they make of a probability."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

Money = Annotated[float, Meta(ge=0.0, le=1e12)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Minutes = Annotated[float, Meta(gt=0.0, le=1440.0)]
SMALL_SHARE_LIMIT = 0.1


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What outcomes cost, in the policy's currency; `policy.toml` says what each number is."""

    chargeback_fee: Money
    lost_amount: Share
    lost_margin: Share
    goodwill: Money
    review_minutes: Minutes
    minute_cost: Money
    review_recall: Share
    review_false_alarm: Share
    review_wait: Money
    review_floor: Share


class Analysts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much analysts can do: minutes of review an hour, how many may wait, and the price when all are taken."""

    minutes_per_hour: Annotated[float, Meta(gt=0.0, le=1e9)]
    backlog_minutes: Annotated[float, Meta(gt=0.0, le=1e9)]
    highest_price: Annotated[float, Meta(gt=0.0, le=1e9)]


class LetThrough(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which share of would-be declines is approved to learn whether they were frauds. The default lets none through."""

    share: Annotated[float, Meta(ge=0.0, le=SMALL_SHARE_LIMIT)] = 0.0
    largest_amount: Money = 0.0
    daily_limit: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Expected(NamedTuple):
    """The expected cost of each outcome, in the policy's currency, without any price of analysts' time."""

    approve: float
    review: float
    decline: float


def expected_costs(costs: Costs, probability: float, amount: float) -> Expected:
    """What each outcome is expected to cost; every one is linear in the probability of fraud (in [0, 1]).

    | outcome | of a fraud | of a good payment |
    |---|---|---|
    | approve | amount * lost_amount + chargeback_fee | 0 |
    | decline | 0 | amount * lost_margin + goodwill |
    | review  | (1 - review_recall) of an approval's | review_false_alarm of a decline's, and review_wait |

    A review also costs `review_minutes * minute_cost`, whatever it finds.
    """
    loss = amount * costs.lost_amount + costs.chargeback_fee
    insult = amount * costs.lost_margin + costs.goodwill
    good = 1.0 - probability
    review = (
        costs.review_minutes * costs.minute_cost
        + probability * (1.0 - costs.review_recall) * loss
        + good * (costs.review_false_alarm * insult + costs.review_wait)
    )
    return Expected(probability * loss, review, good * insult)
