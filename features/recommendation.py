"""The features of recommendations: of who asks, and of each item. Adding one is one line here and one test."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from features.aggregates import count, decayed_count, distinct, mean, since_first, since_last
from features.feature_set import Derived, FeatureSet
from features.view import View
from stream.records import Action, Slate

PURCHASE = "action == 'purchase'"
UNWANTED = "action in ('dislike', 'hide', 'remove_from_cart')"
"""What says that a visitor does not want an item."""

USER = View(
    "user",
    entity="user_id",
    source=Action,
    windows=("1h", "1d", "7d", "30d"),
    description="what this user did",
    features=[
        count(),
        count(where=PURCHASE, name="purchases", windows=("1d", "30d")),
        count(where=UNWANTED, name="unwanted", windows=("30d",)),
        distinct("item_id", windows=("1h", "1d", "30d")),
        mean("value", windows=("30d",)),
        since_first(windows=("30d",)),
        since_last(),
    ],
)
SESSION = View(
    "session",
    entity="session_id",
    source=Action,
    windows=("10m", "1h"),
    description="what happened in this session",
    features=[
        count(),
        count(where=PURCHASE, name="purchases", windows=("1h",)),
        count(where=UNWANTED, name="unwanted", windows=("1h",)),
        distinct("item_id", windows=("1h",)),
        since_first(windows=("1h",)),
        since_last(),
    ],
)
ITEM = View(
    "item",
    entity="item_id",
    source=Action,
    windows=("1h", "1d", "7d", "30d"),
    description="what happened to this item",
    features=[
        count(),
        count(where=PURCHASE, name="purchases", windows=("1d", "30d")),
        distinct("user_id", windows=("1d", "7d")),
        mean("value", windows=("30d",)),
        decayed_count(half_life="6h"),
        decayed_count(half_life="7d"),
        since_first(windows=("30d",)),
        since_last(),
    ],
)


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for recommendations, when and where: what the features of a request are read for.

    A slate has the same fields and more: over an archive, the slates are the visits.
    """

    topic: ClassVar[str] = Slate.topic
    event_timestamp: datetime
    user_id: str
    session_id: str | None = None
    scenario: str = "default"


RECOMMENDATION = FeatureSet(
    "recommendation",
    source=Visit,
    views=(USER, SESSION),
    derived=(
        Derived("hour", "hour(event_timestamp)", "hour of the day, UTC", "hours"),
        Derived("weekday", "weekday(event_timestamp)", "day of the week, Monday is 0", "days"),
    ),
)
ITEMS = FeatureSet("item", source=Action, views=(ITEM,), derived=())
