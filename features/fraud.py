"""The features of the fraud use case. Adding one is one line here and one test."""

from features.aggregates import (
    count,
    decayed_count,
    distinct,
    max,
    mean,
    previous,
    share,
    since_first,
    since_last,
    std,
    sum,
)
from features.feature_set import Derived, FeatureSet
from features.view import View
from stream.records import Label, Transaction

CARD = View(
    "card",
    entity="card_id",
    source=Transaction,
    windows=("10m", "1h", "1d", "7d", "30d"),
    description="what this card did",
    features=[
        count(),
        sum("amount", windows=("1h", "1d", "7d", "30d")),
        mean("amount", windows=("1d", "7d", "30d")),
        std("amount", windows=("30d",)),
        max("amount", windows=("1d", "30d")),
        count(where="amount < 5", name="small_count", windows=("1h",)),
        distinct("merchant_id", windows=("1h", "1d", "30d")),
        distinct("device_id", windows=("30d",)),
        since_first(windows=("30d",)),
        since_last(),
        previous("latitude"),
        previous("longitude"),
    ],
)
MERCHANT = View(
    "merchant",
    entity="merchant_id",
    source=Transaction,
    windows=("1h", "1d", "7d", "30d"),
    description="what happened at this merchant",
    features=[
        count(),
        mean("amount", windows=("1d", "30d")),
        std("amount", windows=("30d",)),
        share(where="amount < 5", name="small_share", windows=("1h", "1d")),
        distinct("card_id", windows=("1h", "1d")),
        count(windows=("1d", "7d", "30d"), delay="7d"),
        decayed_count("6h", windows=("7d",)),
    ],
)
DEVICE = View(
    "device",
    entity="device_id",
    source=Transaction,
    windows=("1h", "1d", "7d"),
    description="what this device did",
    features=[count(), sum("amount", windows=("1d",)), distinct("card_id"), since_last()],
)
MERCHANT_FRAUD = View(
    "merchant_fraud",
    entity="merchant_id",
    source=Label,
    where="label == 'fraud'",
    time="labelled_at",
    windows=("1d", "7d", "30d"),
    description="frauds at this merchant, as they become known",
    features=[count()],
)

FRAUD = FeatureSet(
    "fraud",
    source=Transaction,
    views=(CARD, MERCHANT, DEVICE, MERCHANT_FRAUD),
    derived=(
        Derived("amount", "amount", "the amount", "currency"),
        Derived("hour", "hour(event_timestamp)", "hour of the day, UTC", "hours"),
        Derived("weekday", "weekday(event_timestamp)", "day of the week, Monday is 0", "days"),
        Derived(
            "amount_deviation_30d",
            "(amount - card_mean_amount_30d) / card_std_amount_30d",
            "amount against the card's mean, in its standard deviations",
            "deviations",
        ),
        Derived(
            "amount_ratio_merchant_30d",
            "amount / merchant_mean_amount_30d",
            "amount against what is usual at the merchant",
            "ratio",
        ),
        Derived(
            "distance_km",
            "distance_km(latitude, longitude, card_previous_latitude, card_previous_longitude)",
            "distance from the card's last place",
            "km",
        ),
        Derived(
            "speed_kmh",
            "distance_km / max(card_since_last, 60) * 3600",
            "speed that the card would have needed since its last place",
            "km/h",
        ),
        *(
            Derived(
                f"merchant_risk_{window}",
                f"merchant_fraud_count_{window} / merchant_count_{window}_after_7d",
                f"frauds at the merchant that became known within {window}, as a share of its events of 7d before",
                "share",
            )
            for window in ("1d", "7d", "30d")
        ),
    ),
)
FEATURE_SETS = {FRAUD.name: FRAUD}
