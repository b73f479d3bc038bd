"""Where messages go: addresses of the settings, known to the store by fingerprints alone."""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

from review.alert_message import Message


class NotDelivered(RuntimeError):
    """It did not arrive, in words without the address; a retry can help."""


class Target(Protocol):
    """A mailbox, a chat or another system. Several threads do not send to it at once."""

    @property
    def fingerprint(self) -> str:
        """Which one it is, without what it is."""
        ...

    @property
    def label(self) -> str:
        """What people may read of it."""
        ...

    def send(self, message: Message) -> None:
        """Deliver it, in seconds. Raises `NotDelivered`."""
        ...


def fingerprint(url: str) -> str:
    """The same for the same address, and nothing can be told from it: addresses hold passwords."""
    return sha256(f"alert target {url}".encode()).hexdigest()[:16]
