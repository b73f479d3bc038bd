"""From the sequence to the state of recommending: the one way, for the learner and for every scorer.

What a record does to the state follows from the state and the record alone. So whoever has applied the same entries has
the same state, bit for bit (`RecommenderState.digest`), however often it was written down and read again in between.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np

from features.view import member_hash
from models.batch_items import BatchItems
from models.interaction import Interaction, weight_of
from models.item_index import ItemFacts
from models.packed import InvalidState, pack, unpack
from models.recommender import Recommender
from scoring.recent_identities import RecentIdentities
from stream.invalid_record import InvalidRecord
from stream.records import RECORD_TYPES, Action, Item, Slate, check_time, decode, micros
from stream.sequence import START, Sequenced, SequenceGap

NAME = "recommendation"
TOPICS = (Item.topic, Slate.topic, Action.topic)
"""What is sequenced, in the order in which the records of one poll are: an item before what is done with it."""
KIND = "recommendation"
VERSION = 1


class Adoption(msgspec.Struct, frozen=True, tag="adoption", tag_field="type"):
    """From here on the state has this batch fit. Its content is elsewhere, by version; `sha256` is what it must be."""

    topic: ClassVar[str] = "adoptions"
    version: str
    sha256: str
    at_us: int


class ContentMissing(LookupError):
    """What an adoption names is not there, or is not what it names. A retry can help; a later snapshot has it."""


Fetch = Callable[[str], bytes | None]
"""The content of a batch fit, by version; None where nobody has it."""
Effect = Literal["learned", "ignored", "repeated", "item", "shown", "adopted", "unreadable"]


class Applied(NamedTuple):
    """What one entry did, and the items whose features or facts it touched."""

    effect: Effect
    items: tuple[str, ...] = ()


class Counts(msgspec.Struct):
    """How many entries did what, ever."""

    learned: int = 0
    ignored: int = 0
    repeated: int = 0
    item: int = 0
    shown: int = 0
    adopted: int = 0
    unreadable: int = 0
    clicked: int = 0


class _Header(msgspec.Struct, frozen=True):
    version: int
    position: bytes
    number: int
    counts: Counts
    adopted: str


class RecommenderState:
    """A `Recommender` at a place of the sequence: the id and the number of the last entry that is in it.

    The last identities are remembered, so that a record that comes twice counts once. One thread writes.
    """

    def __init__(self, recommender: Recommender | None = None) -> None:
        self.recommender = recommender or Recommender(member_hash)
        self.position: bytes = START
        self.number = 0
        self.counts = Counts()
        self.adopted = ""
        """The version of the batch fit; empty for none."""
        self._recent = RecentIdentities()

    def apply(self, entry: Sequenced, fetch: Fetch) -> Applied:
        """Take in the next entry; an entry that is in it already changes nothing.

        Raises `SequenceGap` where it is not the next one, and `ContentMissing`: the state is as it was then.
        """
        if entry.number <= self.number:
            return Applied("repeated")
        if self.number and entry.number != self.number + 1:
            raise SequenceGap(f"entry {entry.number} came after {self.number}; begin again from the newest snapshot")
        applied = self._take_in(entry, fetch)
        setattr(self.counts, applied.effect, getattr(self.counts, applied.effect) + 1)
        self.position, self.number = entry.id, entry.number
        return applied

    def _take_in(self, entry: Sequenced, fetch: Fetch) -> Applied:
        topic = topic_of(entry.source)
        if topic == Adoption.topic:
            return self._adopt(msgspec.json.decode(entry.payload, type=Adoption), fetch)
        try:
            record: Any = decode(entry.payload, RECORD_TYPES[topic])
        except (InvalidRecord, KeyError):
            # Of a newer version: whoever runs this one agrees that it says nothing.
            return Applied("unreadable")
        if not self._recent.add(member_hash(f"{topic}|{record.identity}")):
            return Applied("repeated")
        match record:
            case Action():
                return self._act(record)
            case Item():
                return self._put(record)
            case Slate():
                places = [(one.item_id, one.explored) for one in record.items]
                at_us = micros(record.event_timestamp)
                self.recommender.shown(record.event_id, record.user_id, places, at_us)
                return Applied("shown", tuple(item for item, _ in places))
        return Applied("ignored")

    def _act(self, action: Action) -> Applied:
        if action.item_id is None:
            return Applied("ignored")
        at_us = micros(action.event_timestamp)
        if action.slate_id is not None and weight_of(action.action, action.value) > 0.0:
            self.counts.clicked += self.recommender.clicked(action.slate_id, action.item_id)
        learned = Interaction(action.user_id, action.item_id, action.action, action.value, at_us)
        is_learned = self.recommender.learn_one(learned)
        return Applied("learned" if is_learned else "ignored", (action.item_id,))

    def _put(self, item: Item) -> Applied:
        at_us = micros(item.event_timestamp)
        if item.deleted:
            self.recommender.remove_item(item.item_id, at_us)
        else:
            facts = ItemFacts(item.item_id, item.title, item.category, tuple(item.tags), item.price, at_us)
            self.recommender.put_item(facts)
        return Applied("item", (item.item_id,))

    def _adopt(self, adoption: Adoption, fetch: Fetch) -> Applied:
        content = fetch(adoption.version)
        if content is None or sha256(content).hexdigest() != adoption.sha256:
            raise ContentMissing(f"the batch fit {adoption.version} is not in Redis as it was adopted; see the learner")
        self.recommender.adopt(BatchItems.decode(content))
        self.adopted = adoption.version
        return Applied("adopted")

    def encode(self) -> bytes:
        """All of it as bytes, with a checksum."""
        header = _Header(VERSION, self.position, self.number, self.counts, self.adopted)
        state = np.frombuffer(self.recommender.encode(), dtype=np.uint8)
        return pack(KIND, header, {"state": state, **self._recent.arrays()})

    @classmethod
    def decode(cls, content: bytes) -> RecommenderState:
        """What was encoded. Raises `InvalidState`."""
        raw, arrays = unpack(KIND, content)
        header = msgspec.json.decode(raw, type=_Header)
        if header.version != VERSION:
            raise InvalidState(f"this snapshot has version {header.version}, not {VERSION}; replay the sequence")
        found = cls(Recommender.decode(arrays["state"].tobytes(), member_hash))
        found.position, found.number = header.position, header.number
        found.counts, found.adopted = header.counts, header.adopted
        found._recent = RecentIdentities.from_arrays(arrays)
        return found

    def digest(self) -> str:
        """Equal for two states exactly when they know the same; what came twice, and ids in Redis, do not count."""
        told = f"{self.recommender.digest()}|{self.adopted}|"
        return sha256(told.encode() + self._recent.digest()).hexdigest()


def topic_of(source: str) -> str:
    """The topic of a source of the sequence.

    >>> topic_of("redis/actions/3")
    'actions'
    """
    return source.rsplit("/", 2)[-2]


def payload_of(topic: str, value: bytes, latest: datetime | None = None) -> bytes | None:
    """What the sequence keeps of a record; None for one that no state needs. Raises `InvalidRecord`.

    So does a record of after `latest`: everything fades with time, and one from next century would end all that came
    before it.

    A slate loses its vectors, which are for training: they are most of its bytes.
    """
    record: Any = decode(value, RECORD_TYPES[topic])
    if latest is not None:
        check_time(record, latest, timedelta())
    if isinstance(record, Action):
        return value if record.item_id is not None else None
    if isinstance(record, Slate):
        items = [msgspec.structs.replace(one, vector=b"", reason="") for one in record.items]
        bare = msgspec.structs.replace(record, items=items, vector=b"", latency_us={})
        return msgspec.json.encode(bare)
    return value
