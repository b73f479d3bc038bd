"""What counts as drift: one table, each bound with its reason. A change here is a change of who is woken."""

from __future__ import annotations

import msgspec


class DriftBounds(msgspec.Struct, frozen=True, kw_only=True):
    """A number drifts when the change is large and cannot be chance. Size alone would cry at every small window;
    significance alone at every large one: with 60 features and p < 0.05, three a week by chance, and with a million
    events every one of them."""

    psi: float = 0.25
    """Population stability index. The usual scale: below 0.1 nothing, above 0.25 another population."""

    ks: float = 0.20
    """Largest distance of the two distribution functions. A fifth of the mass lies elsewhere."""

    null_change: float = 0.10
    """In share of the events: a tenth of them lost what they had, or got what they had not."""

    chance: float = 0.01
    """Of a false alarm in one look, over all features, scores and measures together: each has its part of it."""

    least_rows: int = 500
    """Fewer known values say nothing of twenty bins."""

    least_units: float = 30.0
    """And they must be worth so many entities of the feature's kind (cards, merchants): the events of one card repeat
    each other, and one large merchant is half of all, so chance is counted by the effective number of entities."""

    fraud_rate_ratio: float = 2.0
    """Twice as many, or half as many frauds. Fraud comes in waves: less than that is an ordinary week."""

    least_fraud_cards: float = 8.0
    """With a fraud, on both sides together, by their effective number. With fewer, nothing is beyond chance."""

    loss_ratio: float = 1.5
    """Times the mean squared error of before. The policy multiplies what is wrong in a score with amounts."""

    loss_delta: float = 0.002
    """ADWIN's delta, River's own default. It takes events for independent, so what it finds is held against chance by
    card as well, for as many looks as it had."""

    loss_days: int = 60
    """How far back the loss is followed, at most: ADWIN needs a past to compare with. Scores that training did not see
    (all members together) are held against these days too, without the newest."""


BOUNDS = DriftBounds()
