"""One entry of the audit chain: a line of text that names the line before it by its hash.

    number kind subject source previous digest hash salt payload

`hash` is over everything before it, so it stands for all entries up to this one. `digest` is over the salt and the
payload: with these two overwritten the chain still holds, and without the salt nobody can try payloads until one fits.
What stays of an erased entry therefore must say nothing of a person: a subject names an event by a hash of its id.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import blake2b, sha256
from typing import Literal, NamedTuple, get_args

Kind = Literal["opened", "decision", "unreadable", "artefact", "erasure"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ERASABLE = ("decision", "unreadable", "artefact")
NOTHING = "-"
BEGINNING = "0" * 64
"""What the first entry names as the one before it."""
SALT_BYTES = 16
EVENT_BYTES = 16
GONE = b"-"
"""What an erased salt and payload consist of, byte by byte: the line keeps its length."""

_LINE = re.compile(
    rb"([1-9][0-9]{0,18}) ([a-z]+) ([!-~]{1,400}) ([!-~]{1,400}) ([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9a-f]{64}) "
    rb"([0-9a-f]{32}|-{32}) ([^\n]+)"
)


class InvalidLine(ValueError):
    """The bytes are no entry of a chain."""


class Draft(NamedTuple):
    """What is to become an entry. `subject` and `source` stay when the payload is erased; neither has a space."""

    kind: Kind
    subject: str
    source: str
    payload: bytes


class ChainEntry(NamedTuple):
    """One entry as it stands in its line."""

    number: int
    kind: str
    subject: str
    source: str
    previous: str
    digest: str
    hash: str
    salt: bytes
    payload: bytes

    @classmethod
    def of(cls, draft: Draft, number: int, previous: str, key: bytes) -> ChainEntry:
        """The entry that follows on the one with the hash `previous`."""
        salt = secrets.token_bytes(SALT_BYTES).hex().encode()
        digest = digest_of(salt, draft.payload)
        own = _hash(number, draft.kind, draft.subject, draft.source, previous, digest, key)
        return cls(number, draft.kind, draft.subject, draft.source, previous, digest, own, salt, draft.payload)

    @property
    def line(self) -> bytes:
        """The line, with its end."""
        head = f"{self.number} {self.kind} {self.subject} {self.source} {self.previous} {self.digest} {self.hash} "
        return b"%b%b %b\n" % (head.encode(), self.salt, self.payload)

    @property
    def is_erased(self) -> bool:
        """Whether nothing is left of the salt and the payload."""
        return not self.salt.strip(GONE) and not self.payload.strip(GONE)

    @property
    def is_whole(self) -> bool:
        """Whether salt and payload are those that were appended."""
        return digest_of(self.salt, self.payload) == self.digest

    def is_hashed_with(self, key: bytes) -> bool:
        """Whether the hash is that of the line (with an empty key, a plain hash)."""
        return self.hash == _hash(self.number, self.kind, self.subject, self.source, self.previous, self.digest, key)


def parse(line: bytes) -> ChainEntry:
    """The entry in a line without its end. Raises `InvalidLine`; checks no hash."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise InvalidLine("the line is no entry: fields are missing or have other characters than an entry's")
    number, kind, subject, source, previous, digest, own, salt, payload = found.groups()
    if kind.decode() not in KINDS:
        raise InvalidLine(f"the line is no entry: its kind is {kind.decode()!r}")
    return ChainEntry(
        int(number),
        *(kind.decode(), subject.decode(), source.decode()),
        *(previous.decode(), digest.decode(), own.decode()),
        salt,
        payload,
    )


def erasable_part(line: bytes) -> tuple[int, int]:
    """Where salt and payload lie within a line, and how long they are."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise InvalidLine("the line is no entry; run 'headrace audit verify'")
    return found.start(8), found.end(9) - found.start(8)


def erased(part: bytes) -> bytes:
    """Salt and payload of the same length that say nothing."""
    return GONE * (2 * SALT_BYTES) + b" " + GONE * (len(part) - 2 * SALT_BYTES - 1)


def digest_of(salt: bytes, payload: bytes) -> str:
    """What the chain keeps of a payload."""
    return sha256(b"%b %b" % (salt, payload)).hexdigest()


def event_mark(event_id: str) -> str:
    """An event in a subject: a hash of its id, so that any id is one word."""
    return blake2b(event_id.encode(), digest_size=EVENT_BYTES).hexdigest()


def _hash(number: int, kind: str, subject: str, source: str, previous: str, digest: str, key: bytes) -> str:
    text = f"{number} {kind} {subject} {source} {previous} {digest}".encode()
    return hmac.new(key, text, sha256).hexdigest() if key else sha256(text).hexdigest()
