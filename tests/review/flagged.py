"""An hour or a day of flagged payments as they look in life, for pages that are looked at: the same each time."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from stream.records import Decision, MemberScore, Reason, Transaction

SHOPS = (
    "grocer-12",
    "air-tickets-3",
    "electronics-77",
    "fuel-204",
    "casino-9",
    "hotel-41",
    "bookshop-5",
    "gift-cards-1",
)
CITIES = ((48.86, 2.35), (52.52, 13.40), (51.51, -0.13), (40.42, -3.70), (45.46, 9.19), (50.85, 4.35))
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}${7*7}\u202e'
"""What a sender might write to see whether a page obeys it."""


def flagged(
    count: int, now: datetime, cards: int = 0, first: int = 0, over: timedelta = timedelta(hours=20)
) -> list[Decision]:
    """So many flagged decisions of the time before `now`, in order, on `cards` cards (a third of the count).

    With as many cards as decisions each has its own. Events are numbered from `first`.
    """
    draw = random.Random(7 + first)
    cards = cards or max(1, count // 3)
    times = sorted(draw.random() for _ in range(count))
    return [
        _one(draw, first + number, now - over * (1 - time), cards, first + number if cards == count else None)
        for number, time in enumerate(times)
    ]


def _one(draw: random.Random, number: int, at: datetime, cards: int, own: int | None) -> Decision:
    card = draw.randrange(cards) if own is None else own
    amount = round(min(9000.0, 12.0 * 2.718 ** draw.gauss(2.4, 1.3)), 2)
    score = min(0.99, max(0.06, draw.betavariate(2.2, 3.0)))
    usual = round(amount / draw.uniform(2.0, 14.0), 2)
    count, city = (
        draw.randint(4, 19),
        CITIES[draw.randrange(len(CITIES)) if draw.random() < 0.3 else card % len(CITIES)],
    )
    reasons = [
        Reason(
            "amount", f"amount is {amount:,.2f} EUR, higher than usual for this card: {usual:,.2f} EUR", amount, usual
        ),
        Reason(
            "card_count_1h",
            f"number of payments of this card within 1 hour is {count}, higher than usual for this card: 2",
            float(count),
            2.0,
        ),
        Reason(
            "speed",
            "speed since the last place is 1,240 km/h, higher than usual for legit traffic: 12 km/h",
            1240.0,
            12.0,
        ),
        Reason("device_new", "device seen first is 0 min ago; usual for this card is 41 d", 0.0, 41.0),
    ]
    draw.shuffle(reasons)
    rules = ["gift-cards-at-night"] if draw.random() < 0.2 else []
    if rules:
        reasons.insert(
            0, Reason("rule:gift-cards-at-night", "gift cards bought at night with a new device", None, None)
        )
    return Decision(
        event_id=f"tx-{number:06d}",
        event_timestamp=at,
        scored_at=at + timedelta(milliseconds=4),
        use_case="fraud",
        outcome="decline" if score > 0.55 else "review",
        score=score,
        scores={
            "batch": MemberScore("fraud-20260101T0900", min(0.99, score * 1.05)),
            "feedback": MemberScore("feedback-41", score * 0.9),
            "online": MemberScore("w-88120", score * 0.8),
        },
        vector=[amount, float(count), score * 10.0, draw.random()],
        definition_hash="d41d8cd9",
        policy_version="3",
        record=Transaction(
            event_id=f"tx-{number:06d}",
            event_timestamp=at,
            card_id=f"card-{4000 + card * 37}",
            merchant_id=SHOPS[draw.randrange(len(SHOPS))],
            customer_id=f"cust-{card // 2}",
            device_id=f"phone-{card if draw.random() < 0.7 else draw.randrange(cards)}",
            amount=amount,
            latitude=round(city[0] + draw.gauss(0, 0.02), 4),
            longitude=round(city[1] + draw.gauss(0, 0.02), 4),
        ),
        rules=rules,
        reasons=reasons[: draw.randint(2, 4)],
    )


def hostile(number: int, at: datetime) -> Decision:
    """A payment whose sender wrote `HOSTILE` wherever a sender can write."""
    reason = Reason("amount", f"amount is {HOSTILE}", 900.0, 10.0)
    return Decision(
        event_id=f"{number}{HOSTILE}",
        event_timestamp=at,
        scored_at=at,
        use_case="fraud",
        outcome="decline",
        score=0.97,
        scores={HOSTILE: MemberScore(HOSTILE, 0.9)},
        vector=[1.0],
        definition_hash=HOSTILE,
        policy_version=HOSTILE,
        record=Transaction(
            event_id=f"{number}{HOSTILE}",
            event_timestamp=at,
            card_id=f"{HOSTILE}{number % 2}",
            merchant_id=HOSTILE,
            customer_id=HOSTILE,
            device_id=HOSTILE,
            amount=99_000.0,
            latitude=1.0,
            longitude=float(number),
        ),
        rules=[HOSTILE],
        reasons=[reason],
        tags=[HOSTILE],
        degraded=[HOSTILE],
        segment=HOSTILE,
    )
