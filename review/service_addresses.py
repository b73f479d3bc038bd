"""Where a service answers: one address, several with spaces between, or every address that a name has now."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, urlsplit

EVERY = "dns+"
"""Before `http://name:port`: not the name is asked but each of its addresses, as a headless Service has one a pod."""
ADDRESSES_LIMIT = 64
EXAMPLE = "http://127.0.0.1:3000"

Lookup = Callable[[str, int], Sequence[str]]


class InvalidAddress(ValueError):
    """A text that names no service. It says what would."""


class Unresolved(RuntimeError):
    """A name that has no address now. The text names it; a retry can help."""


def addresses_of(name: str, port: int) -> list[str]:
    """The addresses of a name, IPv4 where it has any: a pod with one of each kind is asked once. Raises `OSError`."""
    found = {(family, place[0]) for family, _, _, _, place in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    kinds = [[str(host) for family, host in found if family == kind] for kind in (socket.AF_INET, socket.AF_INET6)]
    return sorted(next((hosts for hosts in kinds if hosts), []))


class ServiceAddresses:
    """The services that a setting names. `now` asks the name's servers, which may take seconds.

    >>> ServiceAddresses("http://a:3000  http://b:3000/").now()
    ['http://a:3000', 'http://b:3000']
    >>> ServiceAddresses("dns+http://pods:3000", lambda name, port: ["10.0.0.7", "10.0.0.9"]).now()
    ['http://10.0.0.7:3000', 'http://10.0.0.9:3000']
    """

    def __init__(self, text: str, lookup: Lookup = addresses_of) -> None:
        """Raises `InvalidAddress`."""
        self._lookup = lookup
        self._parts = [(word.startswith(EVERY), _split(word)) for word in text.split()]
        if not self._parts:
            raise InvalidAddress(f"there is no address; give one such as {EXAMPLE}")

    @property
    def is_one(self) -> bool:
        """Whether it is one service, always the same."""
        return len(self._parts) == 1 and not self.are_looked_up

    @property
    def are_looked_up(self) -> bool:
        """Whether they may change."""
        return any(is_every for is_every, _ in self._parts)

    def now(self) -> list[str]:
        """The URL of each, without a slash at its end; at most `ADDRESSES_LIMIT`. Raises `Unresolved`."""
        found: dict[str, None] = {}
        for is_every, parts in self._parts:
            hosts = self._hosts(parts) if is_every else [""]
            for host in hosts:
                place = f"[{host}]" if ":" in host else host
                netloc = f"{place}:{_port(parts)}" if host else parts.netloc
                found[parts._replace(netloc=netloc, path=parts.path.rstrip("/")).geturl()] = None
        return list(found)[:ADDRESSES_LIMIT]

    def _hosts(self, parts: SplitResult) -> Sequence[str]:
        name = parts.hostname or ""
        try:
            hosts = self._lookup(name, _port(parts))
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"{name} has no address ({error}); is there such a Service?") from None
        if not hosts:
            raise Unresolved(f"{name} has no address; does any of its pods run?")
        return hosts


def _port(parts: SplitResult) -> int:
    return parts.port or 80


def _split(word: str) -> SplitResult:
    try:
        parts = urlsplit(word.removeprefix(EVERY))
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and _port(parts) > 0
    except ValueError:
        is_one = False
    if not is_one:
        raise InvalidAddress(f"{word!r} is no address; give one such as {EXAMPLE}")
    if word.startswith(EVERY) and (parts.scheme != "http" or parts.username):
        raise InvalidAddress(f"{word!r}: {EVERY} goes before http://name:port; addresses have no certificates")
    return parts
