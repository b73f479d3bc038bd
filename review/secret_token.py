"""Tokens that open something: 256 random bits, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets

TOKEN_BYTES = 32
TOKEN_CHARACTERS = 43


def new_token() -> str:
    """256 random bits that fit into a cookie and a path."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> bytes:
    """What is kept of a token. One SHA-256: 256 random bits cannot be guessed, so nothing need be slow.

    Looking it up in an index tells by its time at most something about the hash, never about the token.
    """
    return hashlib.sha256(token[:128].encode("utf-8", "replace")).digest()


def csrf_of(token: str) -> str:
    """The forms' token of the session (or visitor) with this cookie; the cookie does not follow from it."""
    return hmac.digest(token.encode("utf-8", "replace"), b"headrace forms", "sha256").hex()


def is_same(given: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))
