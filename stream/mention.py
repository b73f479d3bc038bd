"""Whether a record speaks of one entity: what has to be known of every place before that entity can be forgotten."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec

from stream.invalid_record import InvalidRecord
from stream.records import RECORD_TYPES, DeadLetter, Decision, Event, Label, decode

ENTITIES = ("card_id", "customer_id", "merchant_id", "device_id", "user_id", "session_id")
"""The fields of records that name an entity which can be forgotten."""
MEMBERS = (*ENTITIES, "item_id")
"""The fields that name an entity at which an event may be pending."""
WORD = "(?<![0-9A-Za-z_-])(?:{})(?![0-9A-Za-z_-])"
"""What stands as a word of its own, as a regular expression: a full stop ends it."""


class Mention:
    """One value of one entity, and the events that are known to be its own.

    `events` grows while places are searched: what is kept by event id alone (labels, vectors) goes with them.
    `members` are the entities, by field, of those events: at each of them an event may be pending.
    """

    def __init__(self, entity: str, value: str) -> None:
        if entity not in ENTITIES:
            raise ValueError(f"there is no entity {entity!r}; there are {', '.join(ENTITIES)}")
        if not value:
            raise ValueError(f"give the {entity} to forget")
        self.entity = entity
        self.value = value
        self.events: dict[str, dict[str, str]] = {}
        self._forms = {value.encode(), msgspec.json.encode(value)[1:-1]}
        self._word = re.compile(WORD.encode().replace(b"{}", b"|".join(map(re.escape, sorted(self._forms)))))

    def may_be_in(self, content: bytes) -> bool:
        """Quickly: False only where the value certainly is in no string of this JSON."""
        return b"\\" in content or self.may_be_part_of(content)

    def is_of(self, record: Any) -> bool:
        """Whether the record is about the entity, by itself or by its event."""
        inner = record.record if isinstance(record, Decision) else record
        if getattr(inner, self.entity, None) == self.value:
            return True
        if isinstance(record, DeadLetter):
            return self.is_in(record.payload)
        return isinstance(record, Label) and record.event_id in self.events

    def is_in(self, payload: bytes) -> bool:
        """Whether bytes of unknown form have the value as a word of its own: `C1` is not in `C10`."""
        return self._word.search(payload) is not None

    def may_be_part_of(self, payload: bytes) -> bool:
        """Whether bytes have those of the value, perhaps of a longer word: in a binary file words touch each other."""
        return any(form in payload for form in self._forms)

    @property
    def longest(self) -> int:
        """Bytes of its longest form."""
        return max(map(len, self._forms))

    def find(self, topic: str, payload: bytes) -> bool:
        """Whether a record of a topic is about the entity. Notes the event of one that is."""
        try:
            record: Any = decode(payload, RECORD_TYPES.get(topic, Any))
        except InvalidRecord:
            return self.is_in(payload)
        if not self.is_of(record):
            return False
        self.note(record)
        return True

    def note(self, record: Any) -> None:
        """Remember an event of the entity, and who else took part in it."""
        inner = record.record if isinstance(record, Decision) else record
        if isinstance(inner, get_args(Event)):
            found = {name: getattr(inner, name, None) for name in MEMBERS}
            self.events[inner.event_id] = {name: value for name, value in found.items() if value is not None}
        elif isinstance(inner, Label):
            self.events.setdefault(inner.event_id, {})
