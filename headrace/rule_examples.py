"""Rules that are suggested from decided cases: the cases as columns, and what `training.rule_search` finds in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.expression import InvalidExpression, parse
from features.feature_set import FeatureSet
from headrace.rule_vocabulary import in_words
from review.rule_facts import Example, Suggested, Suggestion
from training.rule_search import METHOD, search_rules

OF_ONE_PLACE = frozenset({"card_previous_latitude", "card_previous_longitude"})
"""Where cards were says which cases these are, not what fraud is like."""
OF_RECORD = ("amount",)
TEXTS = ("currency", "merchant_id")


def suggested(examples: Sequence[Example], features: FeatureSet) -> Suggested:
    """What tells these frauds from the others, of cases with the present features."""
    own = [one for one in examples if one.decision.definition_hash == features.definition_hash]
    is_fraud = np.array([one.is_fraud for one in own], np.bool_)
    vectors = np.array([one.decision.vector for one in own], np.float64).reshape(len(own), len(features.names))
    numbers = {name: vectors[:, place] for place, name in enumerate(features.names) if name not in OF_ONE_PLACE}
    # A rule reads the record's own value where a feature has its name.
    for name in OF_RECORD:
        numbers[name] = np.array([getattr(one.decision.record, name) for one in own], np.float64)
    texts = {name: [getattr(one.decision.record, name, None) for one in own] for name in TEXTS}
    found = [
        Suggestion(rule.when, rule.conditions, rule.fraud, rule.legit, in_words(rule.conditions, features))
        for rule in search_rules(numbers, texts, is_fraud)
        if _is_understood(rule.when, features)
    ]
    fraud = int(is_fraud.sum())
    return Suggested(tuple(found), fraud, len(own) - fraud, len(examples) - len(own), METHOD)


def _is_understood(when: str, features: FeatureSet) -> bool:
    try:
        parse(when, features.kinds, "boolean")
    except InvalidExpression:
        return False
    return True
