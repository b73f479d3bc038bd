"""The keys that are taken now: immutable, swapped whole between two requests."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from scoring.key import id_of
from scoring.key_allowance import Allowance, Allowances
from scoring.key_book import Kept, KeyBook
from scoring.key_scopes import allowed_by
from scoring.rule_steps import seconds


class Secret(NamedTuple):
    """A digest, and until when it is taken, in seconds since 1970."""

    digest: bytes
    until_s: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds a key, and what they may do."""

    id: str
    secrets: tuple[Secret, ...]
    expires_at_s: float
    allowed: frozenset[str]
    body_limit: int | None
    allowance: Allowance | None


class NotKnown(LookupError):
    """A text is no key that is taken. `reason` is a short word for the metrics, the message says more to the caller."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


NO_FORM = "it has not the form of a key (hr_<id>_<secret>); send it as 'headrace keys create' printed it"
NO_KEY = "no such key is taken: it never was, was revoked, or its secret was replaced; ask for another"


class KeyTable:
    """The keys by id."""

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._callers = dict(callers)

    def __len__(self) -> int:
        return len(self._callers)

    def find(self, text: bytes, now_s: float) -> Caller:
        """Who holds this key. Raises `NotKnown`.

        Only digests are compared, in constant time: how long it takes tells nothing of a secret. The id is none.
        """
        key_id = id_of(text)
        if key_id is None:
            raise NotKnown("malformed", NO_FORM)
        caller = self._callers.get(key_id)
        if caller is not None:
            digest = sha256(text).digest()
            for secret in caller.secrets:
                if hmac.compare_digest(secret.digest, digest) and now_s < secret.until_s:
                    if now_s < caller.expires_at_s:
                        return caller
                    raise NotKnown("expired", f"key {caller.id} has expired; ask for another")
        raise NotKnown("unknown", NO_KEY)


def table_of(book: KeyBook, allowances: Allowances) -> KeyTable:
    """The table of a book. The allowances of keys that are in no table any more are forgotten."""
    callers = {key_id.encode(): _caller(kept, allowances) for key_id, kept in book.keys.items()}
    allowances.keep_only(book.keys)
    return KeyTable(callers)


def _caller(kept: Kept, allowances: Allowances) -> Caller:
    made = kept.made
    taken = [Secret(bytes.fromhex(kept.digest), math.inf)]
    if kept.old_digest is not None:
        taken.append(Secret(bytes.fromhex(kept.old_digest), seconds(kept.old_until)))
    allowance = None
    if made.rate_per_s is not None and made.burst is not None:
        allowance = allowances.of(made.key, made.rate_per_s, made.burst)
    return Caller(made.key, tuple(taken), seconds(made.expires_at), allowed_by(made.scopes), made.body_limit, allowance)
