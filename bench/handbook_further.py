"""Features beside the fraud use case's, for the handbook: what a data scientist would declare next.

The labels of an event are 7 days late, so what is known of a merchant ends 7 days ago. Its latest known fraud and its
latest known legit payment, and since when frauds are known, say more than a share over a window; and a customer's
amounts are held against those of before the delay, which frauds that nobody has reported yet have not moved.
"""

from __future__ import annotations

from features.aggregates import count, max, mean, since_first, since_last, std
from features.feature_set import Derived, FeatureSet
from features.fraud import FRAUD
from features.view import View
from stream.records import Label, Transaction

WINDOWS = ("3d", "14d", "21d", "28d")

PAYER = View(
    "payer",
    entity="card_id",
    source=Transaction,
    windows=("30d",),
    description="what this card did before the labels' delay, and lately",
    features=[
        count(delay="7d"),
        mean("amount", delay="7d"),
        std("amount", delay="7d"),
        max("amount", delay="7d"),
        mean("amount", windows=("3d", "14d")),
        max("amount", windows=("7d", "14d")),
    ],
)
PLACE = View(
    "place",
    entity="merchant_id",
    source=Transaction,
    windows=WINDOWS,
    description="what happened at this merchant before the labels' delay",
    features=[count(delay="7d")],
)
PLACE_FRAUD = View(
    "place_fraud",
    entity="merchant_id",
    source=Label,
    where="label == 'fraud'",
    time="labelled_at",
    windows=WINDOWS,
    description="frauds at this merchant, as they become known",
    features=[count(), since_first(windows=("21d", "28d")), since_last(), mean("amount", windows=("28d",))],
)
PLACE_LEGIT = View(
    "place_legit",
    entity="merchant_id",
    source=Label,
    where="label == 'legit'",
    time="labelled_at",
    windows=("7d", "28d"),
    description="good payments at this merchant, as they become known",
    features=[count(), since_last()],
)
FURTHER = FeatureSet(
    "handbook_further",
    source=Transaction,
    views=(*FRAUD.views, PAYER, PLACE, PLACE_FRAUD, PLACE_LEGIT),
    derived=(
        *FRAUD.derived,
        *(
            Derived(
                f"place_risk_{window}",
                f"place_fraud_count_{window} / place_count_{window}_after_7d",
                f"frauds at the merchant that became known within {window}, as a share of its events of 7d before",
                "share",
            )
            for window in WINDOWS
        ),
        Derived("place_turned", "place_legit_since_last - place_fraud_since_last", "above 0: fraud is the latest", "s"),
        Derived("amount_ratio_card", "amount / card_mean_amount_30d", "amount against the card's mean", "ratio"),
        Derived("amount_ratio_payer", "amount / payer_mean_amount_30d_after_7d", "against its earlier mean", "ratio"),
        Derived(
            "amount_deviation_payer",
            "(amount - payer_mean_amount_30d_after_7d) / payer_std_amount_30d_after_7d",
            "amount against the card's earlier mean, in its standard deviations",
            "deviations",
        ),
        Derived(
            "day_ratio_payer", "card_mean_amount_1d / payer_mean_amount_30d_after_7d", "the last day's mean", "ratio"
        ),
        Derived(
            "week_ratio_payer", "card_mean_amount_7d / payer_mean_amount_30d_after_7d", "the last week's mean", "ratio"
        ),
        Derived(
            "max_ratio_payer",
            "payer_max_amount_7d / payer_max_amount_30d_after_7d",
            "the last week's largest amount against the largest before",
            "ratio",
        ),
    ),
)
