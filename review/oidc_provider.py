"""What an OIDC provider tells of itself: its addresses and keys, asked for once and kept for a while."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from review.safe_url import is_safe

BYTES_LIMIT = 1_048_576
TIMEOUT_S = 5.0
KEPT_S = 3600.0
KEYS_AGAIN_AFTER_S = 60.0
"""Tokens with unknown keys make us ask no more often than this."""
AUTHORIZE, TOKEN, KEYS = "authorization_endpoint", "token_endpoint", "jwks_uri"


class ProviderUnavailable(RuntimeError):
    """The provider does not answer, or not what it should. A retry can help."""


class InvalidIssuer(ValueError):
    """No provider can be trusted under this address."""


class ProviderFacts:
    """Addresses and keys of one issuer. Threads may share it. Nothing is asked before it is needed.

    Raises `InvalidIssuer` for an address that is not https (this machine's own excepted).
    """

    def __init__(self, issuer: str) -> None:
        if not is_safe(issuer):
            raise InvalidIssuer(f"HEADRACE_OIDC_ISSUER={issuer[:200]!r} is no https address")
        self.issuer = issuer
        self._lock = Lock()
        self._addresses: dict[str, Any] = {}
        self._keys: list[dict[str, Any]] = []
        self._addresses_at_s = self._keys_at_s = float("-inf")

    def address(self, name: str) -> str:
        """One of the provider's addresses. Raises `ProviderUnavailable`."""
        return str(self._discovered()[name])

    def methods(self) -> list[str]:
        """How the token endpoint wants to know us."""
        found = self._discovered().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return [str(one) for one in found] if isinstance(found, list) else []

    def keys(self, *, anew: bool = False) -> list[dict[str, Any]]:
        """The provider's keys; `anew`: also where we have some, unless they were asked for just now."""
        where = self.address(KEYS)
        with self._lock:
            age_s = monotonic() - self._keys_at_s
            if age_s > KEPT_S or (anew and age_s > KEYS_AGAIN_AFTER_S):
                found = ask("GET", where).get("keys")
                self._keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
                self._keys_at_s = monotonic()
            return self._keys

    def _discovered(self) -> dict[str, Any]:
        with self._lock:
            if monotonic() - self._addresses_at_s > KEPT_S:
                found = ask("GET", self.issuer.rstrip("/") + "/.well-known/openid-configuration")
                if found.get("issuer") != self.issuer:
                    said = str(found.get("issuer"))[:200]
                    raise ProviderUnavailable(f"the provider calls itself {said!r}, not {self.issuer!r}")
                for name in (AUTHORIZE, TOKEN, KEYS):
                    if not is_safe(str(found.get(name, ""))):
                        raise ProviderUnavailable(f"the provider's {name} is no https address")
                self._addresses, self._addresses_at_s = found, monotonic()
            return self._addresses


def ask(
    method: str, url: str, form: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A JSON object from an address: no redirect is followed, little is read, and not for long.

    Raises `ProviderUnavailable`.
    """
    until_s = monotonic() + 2 * TIMEOUT_S  # A part may take `TIMEOUT_S`, and there may be a million of them.
    try:
        with _client().stream(method, url, data=form, auth=auth, headers={"accept": "application/json"}) as response:
            read = bytearray()
            for part in response.iter_bytes():
                read += part
                if len(read) > BYTES_LIMIT:
                    raise ProviderUnavailable(f"{urlsplit(url).netloc} answers with more than {BYTES_LIMIT} bytes")
                if monotonic() > until_s:
                    raise ProviderUnavailable(f"{urlsplit(url).netloc} takes more than {2 * TIMEOUT_S:g} s to answer")
        if response.status_code != 200:
            raise ProviderUnavailable(f"{urlsplit(url).netloc} answers with status {response.status_code}")
        found = msgspec.json.decode(read)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        raise ProviderUnavailable(f"{urlsplit(url).netloc} cannot be asked: {error}") from error
    if not isinstance(found, dict):
        raise ProviderUnavailable(f"{urlsplit(url).netloc} answers with no object")
    return found


@cache
def _client() -> httpx.Client:
    # One for all: reading the system's certificates takes longer than asking. Threads may share it; it keeps none open.
    return httpx.Client(timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))
