"""A value of any size in Redis: pieces under keys of their own, and one key that names them.

Pieces are written before the name is, and the name changes in one step: a reader has the old value or the new one,
whole, and its checksum says so. No command takes Redis longer than a piece.
"""

from __future__ import annotations

from hashlib import sha256
from secrets import token_hex
from typing import Any, NamedTuple

import msgspec

from stream.connection import Command, RedisConnection
from stream.standing import answers

PIECE_BYTES = 1 << 20
LINGER_MS = 120_000
"""How long the pieces of a value that was replaced stay, for those who read them."""
UNNAMED_MS = 600_000
"""How long pieces stay that no name was written for: their writer has died."""
READ_TRIES = 3


class CorruptValue(ValueError):
    """What is there is not what was written. A retry cannot help; the next write replaces it."""


class Name(msgspec.Struct, frozen=True):
    """What the one key holds: where the pieces are, what they should be, and `order`, by which values compare."""

    token: str
    pieces: int
    size_bytes: int
    sha256: str
    order: int
    note: str = ""


class Stored(NamedTuple):
    """A value with the note that was written beside it."""

    content: bytes
    order: int
    note: str


# The later value stays: a writer that slept does not put its old one over it.
SWAP = """\
local old = redis.call('GET', KEYS[1])
if old and tonumber(cjson.decode(old)['order']) > tonumber(ARGV[2]) then return {0, ''} end
redis.call('SET', KEYS[1], ARGV[1])
for i = 2, #KEYS do redis.call('PERSIST', KEYS[i]) end
return {1, old or ''}
"""


class LargeValue:
    """The value `key`. One thread uses it. Every call may raise `RedisUnavailable`."""

    def __init__(self, connection: RedisConnection, key: str) -> None:
        self.key = key
        self._connection = connection
        self._swap = connection.script(SWAP)

    def write(self, content: bytes, order: int = 0, note: str = "") -> bool:
        """Replace the value, in this order; False, and nothing changed, where one of a higher order is there.

        1. The pieces, one at a time, with an end.  2. The name, and no end for its pieces.  3. An end for the pieces
        before. A crash before 2 leaves the old value, one before 3 leaves pieces of nobody, which the next write ends.
        """
        token = token_hex(8)
        cut = range(0, max(1, len(content)), PIECE_BYTES)
        keys = [self._piece(token, place) for place in range(len(cut))]
        # 1.
        for key, start in zip(keys, cut, strict=True):
            self._one(("SET", key, content[start : start + PIECE_BYTES], "PX", UNNAMED_MS))
        # 2.
        name = Name(token, len(keys), len(content), sha256(content).hexdigest(), order, note)
        done, old = self._one(self._swap.command([self.key, *keys], [msgspec.json.encode(name), order]))
        # 3.
        if not done:
            self._end(name, 1)
        elif old:
            self._end(msgspec.json.decode(old, type=Name), LINGER_MS)
        return bool(done)

    def read(self) -> Stored | None:
        """The value; None where there is none. Raises `CorruptValue` where its pieces are not what was written."""
        found: list[bytes | None] = []
        for _ in range(READ_TRIES):
            name = self.name()
            if name is None:
                return None
            found = [self._one(("GET", self._piece(name.token, place))) for place in range(name.pieces)]
            content = b"".join(piece or b"" for piece in found)
            if sha256(content).hexdigest() == name.sha256:
                return Stored(content, name.order, name.note)
            # Replaced while it was read, and slowly: read the new one.
        raise CorruptValue(f"the {len(found)} pieces of {self.key} are not what was written; it is written anew later")

    def name(self) -> Name | None:
        """What is there, without its content."""
        found = self._one(("GET", self.key))
        return None if found is None else msgspec.json.decode(found, type=Name)

    def expire(self, after_ms: int) -> None:
        """Let the value go after so long."""
        if (name := self.name()) is not None:
            answers(self._connection, [("PEXPIRE", self.key, after_ms), *self._ends(name, after_ms)])

    def _end(self, name: Name, after_ms: int) -> None:
        answers(self._connection, self._ends(name, after_ms))

    def _ends(self, name: Name, after_ms: int) -> list[Command]:
        return [("PEXPIRE", self._piece(name.token, place), after_ms) for place in range(name.pieces)]

    def _piece(self, token: str, place: int) -> str:
        return f"{self.key}:{token}:{place}"

    def _one(self, command: Command) -> Any:
        return answers(self._connection, [command])[0]
