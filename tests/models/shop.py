"""A small world of visitors with tastes, for the tests of recommending: the same at every call."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from models.interaction import Interaction
from models.item_index import ItemFacts
from models.recommender import Recommender

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000


def hash_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def shopping(events: int, items: int = 200, users: int = 60, seed: int = 1) -> list[Interaction]:
    """Each visitor stays in one of ten shelves of items, with now and then another one."""
    random = np.random.default_rng(seed)
    found = []
    for n in range(events):
        user = int(random.integers(users))
        shelf = user % 10 if random.random() < 0.9 else int(random.integers(10))
        item = shelf + 10 * int(random.integers(items // 10) * random.random())
        kind = ("view", "add_to_cart", "purchase", "hide")[int(random.choice(4, p=(0.8, 0.1, 0.08, 0.02)))]
        found.append(Interaction(f"user-{user}", f"item-{item}", kind, None, START_US + n * MINUTE_US))
    return found


def told(events: list[Interaction], recommender: Recommender | None = None) -> Recommender:
    recommender = recommender or Recommender(hash_of)
    for n, event in enumerate(events):
        recommender.learn_one(event)
        if n % 7 == 0:
            place = int(event.item.removeprefix("item-"))
            recommender.put_item(ItemFacts(event.item, f"thing {place}", f"shelf {place % 10}", (), 1.0 + place))
        if n % 11 == 0:
            recommender.shown(f"slate-{n}", event.user, [(event.item, n % 2 == 0), ("item-1", False)], event.at_us)
            recommender.clicked(f"slate-{n}", event.item)
        if n % 501 == 500:
            recommender.remove_item(event.item, event.at_us)
    return recommender
