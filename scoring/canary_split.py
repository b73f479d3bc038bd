"""Which entities a canary answers: by a hash, the same in every process and after every restart."""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

PLACES = 10_000
"""A hundredth of a percent each."""


def place_of(name: str, key: str) -> int:
    """The place of an entity, in [0, PLACES): of the model's name and the entity's key alone.

    Without the version and the share, so that a larger share keeps the entities that were in a smaller one, and who is
    among the first does not change from canary to canary.

    >>> place_of("fraud", "card-1") == place_of("fraud", "card-1")
    True
    """
    return entity_hash(name, key) % PLACES


def entity_hash(name: str, key: str) -> int:
    """63 bits that stand for an entity where its key must not be kept."""
    return int(xxh3_64_intdigest(f"{name}:{key}".encode()) >> 1)


def is_in(place: int, share: int) -> bool:
    """Whether a canary of `share` percent answers the entities at this place."""
    return place * 100 < share * PLACES
