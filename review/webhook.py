"""Our own webhooks: the message as JSON in a signed POST."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx
import msgspec

from review.alert_message import Message
from review.alert_target import NotDelivered, fingerprint
from review.safe_url import is_safe
from review.webhook_signature import KEY_HEADER, LEAST_KEY_CHARACTERS, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

TIMEOUT_S = 10.0


class Webhook:
    """One address. A redirect is a failure: the message goes where the settings say, and nowhere else."""

    def __init__(self, url: str, keys: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        parts = urlsplit(url)
        if not is_safe(url) or not parts.hostname:
            raise ValueError("a webhook's address begins with https:// (http:// only to this machine)")
        try:
            _ = httpx.URL(url), parts.port
        except (httpx.InvalidURL, ValueError):
            raise ValueError("a webhook's address is like https://host/path, and this one cannot be read") from None
        if not keys or any(len(key) < LEAST_KEY_CHARACTERS for key in keys):
            raise ValueError(f"webhooks are signed: give a key of at least {LEAST_KEY_CHARACTERS} characters")
        self.fingerprint = fingerprint(url)
        # Addresses of receivers tend to have their secret in the path.
        self.label = f"webhook at {parts.hostname}"
        self._url, self._keys, self._clock = url, tuple(keys), clock

    def send(self, message: Message) -> None:
        """Deliver it. Raises `NotDelivered`."""
        body, timestamp = msgspec.json.encode(message), str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "headrace",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(self._keys, timestamp, body),
            KEY_HEADER: message.id,
        }
        try:
            # The answer's body is left alone: it is nobody's, and may be of any length.
            with httpx.stream("POST", self._url, content=body, headers=headers, timeout=TIMEOUT_S) as answer:
                status = answer.status_code
        except (httpx.HTTPError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None
        if not 200 <= status < 300:
            raise NotDelivered(f"it answered {status}")
