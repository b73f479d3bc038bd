"""How webhooks are signed, and how a receiver tells that one is ours and new."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

TIMESTAMP_HEADER = "Headrace-Timestamp"
SIGNATURE_HEADER = "Headrace-Signature"
KEY_HEADER = "Idempotency-Key"
REPLAY_WINDOW_S = 300.0
LEAST_KEY_CHARACTERS = 32


def sign(keys: Sequence[str], timestamp: str, body: bytes) -> str:
    """The header's value: HMAC-SHA256 over `timestamp.body` in hex, one for each key, so that keys can be changed.

    >>> sign(["k" * 32], "1700000000", b"{}")
    'v1=0b3b35525c10b3757ffa78df69037021fc3168d8390a51a4fcb4a8d56a25b557'
    """
    return ",".join(f"v1={_hmac(key, timestamp, body)}" for key in keys)


def is_genuine(
    key: str, timestamp: str, signature: str, body: bytes, now_s: float, window_s: float = REPLAY_WINDOW_S
) -> bool:
    """Whether a request with these headers is of somebody with the key, and was made within the window.

    The same one may come again, played back within the window, or from us, signed anew, for a day: keep its
    `Idempotency-Key`, which is the `id` in the body, for two days and act once.
    """
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    if abs(now_s - int(timestamp)) > window_s:
        return False
    expected = f"v1={_hmac(key, timestamp, body)}".encode()
    return any(hmac.compare_digest(expected, one.strip().encode()) for one in signature.split(","))


def _hmac(key: str, timestamp: str, body: bytes) -> str:
    return hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
