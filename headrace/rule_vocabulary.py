"""The words of the rules' language with what they mean, for whoever writes a rule; and conditions in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from features.expression import FUNCTIONS, Kind
from features.feature_set import FeatureSet
from review.rule_facts import KeptList, Word
from scoring.rules import LISTS

FIELDS = {
    "event_id": "id of the payment",
    "event_timestamp": "when it was made; for hour(…) and weekday(…)",
    "card_id": "the card",
    "merchant_id": "the merchant",
    "amount": "the amount, in its currency",
    "currency": "three capitals, such as 'EUR'",
    "customer_id": "the customer, where known",
    "device_id": "the device, where known",
    "latitude": "where it was made, degrees north",
    "longitude": "where it was made, degrees east",
}
"""What the fields of a transaction are; one that is missing here has no words."""
FUNCTION_WORDS = {
    "abs": "without its sign",
    "min": "the lesser of two",
    "max": "the greater of two",
    "log1p": "the logarithm of 1 + a number",
    "sqrt": "the square root",
    "coalesce": "the first, or where it is unknown the second",
    "is_null": "whether it is unknown",
    "hour": "hour of the day, UTC",
    "weekday": "day of the week, Monday is 0",
    "distance_km": "between two places: latitude, longitude, latitude, longitude",
}
SIGNS = {
    "and": "both hold",
    "or": "one of them holds",
    "not": "it does not hold",
    "in": "on a list: card_id in deny, currency in ('EUR', 'USD')",
}
_COMPARISON = re.compile(r"(\w+) (>=|<=|==|<|>) (.+)")
_SIGN_WORDS = {">=": "at least", "<=": "at most", "==": "is", "<": "below", ">": "above"}


def vocabulary(features: FeatureSet, lists: Iterable[KeptList]) -> list[Word]:
    """Every word: fields, features, kept lists, functions, and the words between them."""
    described = _descriptions(features)
    own = set(features.names)
    found = [
        Word(name, "feature" if name in own and name not in FIELDS else "field", kind, described.get(name, ""))
        for name, kind in features.kinds.items()
    ]
    sizes: dict[str, int] = dict.fromkeys(LISTS, 0)
    for one in lists:
        sizes[one.list] = sizes.get(one.list, 0) + one.size
    found += [Word(name, "list", "list", f"kept list, {size:,} values") for name, size in sorted(sizes.items())]
    for name, known in FUNCTIONS.items():
        takes: tuple[Kind, ...] = known.takes
        said = f"{name}({', '.join(takes)}): {FUNCTION_WORDS.get(name, '')}".rstrip(": ")
        found.append(Word(name, "function", known.gives, said))
    return found + [Word(sign, "sign", "boolean", said) for sign, said in SIGNS.items()]


def in_words(conditions: Iterable[str], features: FeatureSet) -> str:
    """Comparisons as an analyst would say them.

    >>> from scoring.use_case import FRAUD
    >>> in_words(["amount >= 500", "card_count_1h < 3"], FRAUD.features)
    'the amount at least 500, and events of the card within 1h below 3'
    """
    described = _descriptions(features) | {"amount": "the amount"}
    said = []
    for condition in conditions:
        found = _COMPARISON.fullmatch(condition)
        if found is None:
            said.append(condition)
        else:
            name = found[1]
            said.append(f"{described.get(name) or name} {_SIGN_WORDS[found[2]]} {found[3].strip(chr(39))}")
    return ", and ".join(said)


def _descriptions(features: FeatureSet) -> dict[str, str]:
    return {entry.name: entry.description for entry in features.catalogue()} | FIELDS
