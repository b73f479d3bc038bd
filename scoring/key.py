"""An API key: its text, which only its holder has, and its digest, which is all that is kept.

A key reads `hr_<id>_<secret>`. The id is no secret: it names the key in the history, in logs and metrics. The secret is
256 random bits, so one sha256 of the text is what is kept. A slow hash with salt defends what people think up, which
can be guessed from a list; of 2**256 secrets there is no list, and nobody tries them all, however fast the hash. And
it has to be fast: it is computed for every request.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Annotated, NamedTuple

from msgspec import Meta

ID_BYTES = 6
SECRET_BYTES = 32
TEXT_LENGTH = len("hr__") + 2 * (ID_BYTES + SECRET_BYTES)
ID = r"[0-9a-f]{12}"
KeyId = Annotated[str, Meta(pattern=rf"^{ID}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

_PREFIX = b"hr_"
_ID_END = len(_PREFIX) + 2 * ID_BYTES


class NewKey(NamedTuple):
    """A key that was just made. Show `text` once, keep `digest`."""

    id: str
    text: str
    digest: str

    def __repr__(self) -> str:
        return f"NewKey({self.id!r})"


def new_key(key_id: str | None = None) -> NewKey:
    """A new key; with the id of another, a new secret for it."""
    key_id = key_id or secrets.token_hex(ID_BYTES)
    text = f"hr_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    return NewKey(key_id, text, sha256(text.encode()).hexdigest())


def id_of(text: bytes) -> bytes | None:
    """The id in a key's text, by its place; None where the text has another form than a key. Called for every request.

    >>> id_of(b"hr_0123456789ab_" + b"0" * 64)
    b'0123456789ab'
    >>> id_of(b"hr_0123456789ab_") is None
    True
    """
    if len(text) != TEXT_LENGTH or not text.startswith(_PREFIX) or text[_ID_END : _ID_END + 1] != b"_":
        return None
    return text[len(_PREFIX) : _ID_END]
