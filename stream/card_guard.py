"""What is done about card numbers, at every edge where records or ids come in: tokens instead, or a refusal."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from stream.card_key import CardKey, NoCardKey
from stream.card_numbers import SEARCHED_LIMIT, find, mask, mask_bytes, may_hold
from stream.invalid_record import InvalidRecord
from stream.log import Entry
from stream.records import DeadLetter, Decision, Slate

Treatment = Literal["tokenise", "refuse"]
TREATMENTS: tuple[Treatment, ...] = ("tokenise", "refuse")
TOKEN_BYTES = 15
OWN_TOPICS = frozenset({Decision.topic, Slate.topic, DeadLetter.topic})
"""What only Headrace writes, from records that came through an edge. They hold many long numbers: scores."""
REMEDY = "holds a card number, and this service takes none; send your own id or a token of the card"


class CardGuard:
    """Lets no card number through. For any number of threads.

    `tokenise` puts a token in a number's place, wherever it stands in a text: the same for the same number, however it
    is written, and for every process with the same key. So an id that looks like a card number by chance stays an id.
    `refuse` raises `InvalidRecord`, which names the field and never the number. Where there is no key, it refuses too.

    Numbers (not texts) of that form are no ids: they are masked into texts, which no number field takes.
    """

    def __init__(self, treatment: Treatment, key: CardKey | None = None) -> None:
        self.treatment = treatment
        self.key = key

    def clean(self, payload: bytes) -> bytes:
        """The JSON of one record without card numbers; the same bytes where there is none, within 1 us.

        What is no JSON comes back masked: nothing will be read from it, but errors quote it. Raises `InvalidRecord`.
        """
        return self._look_closer(payload) if may_hold(payload) else payload

    def text(self, text: str, field: str) -> str:
        """A text without card numbers. Raises `InvalidRecord` with this field."""
        if not may_hold(text.encode(errors="surrogateescape")):
            return text
        if len(text) > SEARCHED_LIMIT:
            raise InvalidRecord(field, text, f"is too long to be searched; send at most {SEARCHED_LIMIT} characters")
        parts, at = [], 0
        for found in find(text):
            parts += [text[at : found.start], self._token(found.digits, field, text)]
            at = found.end
        return "".join(parts) + text[at:] if parts else text

    def admit(self, topic: str, entry: Entry) -> Entry:
        """An entry as the log's readers may have it: others may write to topics too.

        Where a record is refused, its readers get a text that is no record, so that they report it as a dead letter:
        the reason, and what came, masked.
        """
        if topic in OWN_TOPICS:
            return entry
        try:
            value = self.clean(entry.value)
            key = self.text(entry.key, "(key)")
        except InvalidRecord as error:
            return Entry(entry.offset, mask(entry.key), f"refused: {error}: ".encode() + mask_bytes(entry.value))
        return entry if value is entry.value and key is entry.key else Entry(entry.offset, key, value)

    def _look_closer(self, payload: bytes) -> bytes:
        if len(payload) > SEARCHED_LIMIT:
            raise InvalidRecord("(body)", payload, f"is too long to be searched; send at most {SEARCHED_LIMIT} bytes")
        try:
            content = msgspec.json.decode(payload)
            cleaned = self._cleaned(content, "")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return mask_bytes(payload)
        return msgspec.json.encode(cleaned)

    def _cleaned(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return self.text(value, path or "(body)")
        if isinstance(value, dict):
            return {
                self.text(name, mask(name)): self._cleaned(one, f"{path}.{name}" if path else name)
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [self._cleaned(one, path) for one in value]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            text = str(value)
            masked = mask(text)
            if masked != text:
                self._refuse(path, text)
                return masked
        return value

    def _token(self, digits: str, field: str, text: str) -> str:
        self._refuse(field, text)
        if self.key is None:
            raise InvalidRecord(field, text, REMEDY)
        try:
            key = self.key.read()
        except NoCardKey as error:
            raise InvalidRecord(field, text, f"{REMEDY} (it makes no tokens: {error})") from error
        return token_of(digits, key)

    def _refuse(self, field: str, text: str) -> None:
        if self.treatment == "refuse":
            raise InvalidRecord(field, text, REMEDY)


def token_of(digits: str, key: bytes) -> str:
    """What stands for a card number: a keyed hash, which cannot be turned back or computed without the key.

    >>> token_of("4111111111111111", bytes(32))
    'tok_aau6ibmjpdjnjz5eyoboprsk'
    """
    return "tok_" + b32encode(blake2b(digits.encode(), key=key, digest_size=TOKEN_BYTES).digest()).decode().lower()


REFUSING = CardGuard("refuse")
"""For whoever has no key."""
