"""Passwords as argon2id hashes: the one file that knows argon2."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from review.password_rules import MOST_CHARACTERS, normal


class Cost(NamedTuple):
    """What one guess costs: RFC 9106's second recommendation."""

    passes: int = 3
    memory_kib: int = 65536
    lanes: int = 4


class Passwords:
    """Hash and check passwords. Both take long and hold `memory_kib`: bound how many run at once."""

    def __init__(self, cost: Cost = Cost()) -> None:  # noqa: B008 - immutable
        self._hasher = _hasher(cost)
        self._nobodys = _nobodys(cost)

    def hash(self, password: str) -> str:
        """What to keep of a password: hash, salt and cost in one text."""
        return self._hasher.hash(_bytes(password))

    def is_right(self, kept: str | None, password: str) -> bool:
        """Whether this is the password. With nothing kept it takes the same work and is False: no time tells names."""
        # More characters than any password has are cut: a guess of a megabyte costs no more than another.
        given = _bytes(password[: MOST_CHARACTERS + 1])
        try:
            self._hasher.verify(self._nobodys if kept is None else kept, given)
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether a hash was made at another cost than is asked for now."""
        return self._hasher.check_needs_rehash(kept)


def _hasher(cost: Cost) -> PasswordHasher:
    return PasswordHasher(cost.passes, cost.memory_kib, cost.lanes, hash_len=32, salt_len=16, type=Type.ID)


@cache
def _nobodys(cost: Cost) -> str:
    """What a guess at nobody's password is held against: made once a process, since it costs what a guess does."""
    return _hasher(cost).hash("no password that anybody has")


def _bytes(password: str) -> bytes:
    return normal(password).encode("utf-8", "replace")
