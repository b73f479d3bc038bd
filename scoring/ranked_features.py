"""What a ranker is asked, named: the visitor's features, the item's, and what one has to do with the other."""

from __future__ import annotations

from hashlib import sha256

from features.recommendation import ITEMS, RECOMMENDATION
from models.cross_features import CROSS_FEATURES

NAME = "recommendation"
"""The name that rankers are registered under."""
VISITOR_NAMES = RECOMMENDATION.names
ITEM_NAMES = ITEMS.names
NAMES = (*VISITOR_NAMES, *ITEM_NAMES, *CROSS_FEATURES)
DEFINITION_HASH = sha256(
    "\n".join((RECOMMENDATION.definition_hash, ITEMS.definition_hash, *CROSS_FEATURES)).encode()
).hexdigest()[:12]
"""Names the exact set, order and meaning of all of them: in each slate, ranker and training set."""
