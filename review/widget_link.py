"""A widget's address: what it asks for, until when and for whose pages, under an HMAC that only the key makes.

What is signed is one text, which any language makes in three lines:

    headrace-widget-1
    <kind>
    <name>=<value>&<name>=<value>…

with all parameters but `signature`, sorted by name, each percent-encoded as RFC 3986 has it (all but `A-Z a-z 0-9 - . _
~`). The signature is the HMAC-SHA256 of its UTF-8 bytes with the key's secret, in hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import quote

VERSION = "headrace-widget-1"
Kind = Literal["entity-risk", "flag-trend", "recommendation-lift"]
KINDS: dict[str, str] = {
    "entity-risk": "Risk of one entity",
    "flag-trend": "Flags over time",
    "recommendation-lift": "Lift of recommendations",
}
SPANS = ("hour", "day", "week")
SCHEMES = ("auto", "light", "dark")
OWN: dict[str, tuple[str, ...]] = {
    "entity-risk": ("entity", "use_case"),
    "flag-trend": ("span",),
    "recommendation-lift": ("span",),
}
"""What each kind takes beside what all do."""
NEEDED = ("ancestors", "expires", "key")
LASTS_AT_MOST_S = 7 * 86400
ANCESTORS_LIMIT = 10
VALUE_LIMIT = 300
_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)(?::[0-9]{1,5})?"
)


class InvalidLink(ValueError):
    """The address cannot be one of a widget, whoever signed it."""


class NotSigned(ValueError):
    """The address is not to be answered. The text says why in a few words and nothing else."""


class Asked(NamedTuple):
    """What a good address asks for."""

    kind: str
    key: str
    expires_s: int
    ancestors: tuple[str, ...]
    scheme: str = "auto"
    entity: str = ""
    use_case: str = "fraud"
    span: str = "hour"


def canonical(kind: str, parameters: Mapping[str, str]) -> str:
    """The text that is signed.

    >>> canonical("flag-trend", {"span": "day", "key": "a1", "ancestors": "https://shop.example"})
    'headrace-widget-1\\nflag-trend\\nancestors=https%3A%2F%2Fshop.example&key=a1&span=day'
    """
    return f"{VERSION}\n{kind}\n{_query(parameters)}"


def signature_of(kind: str, parameters: Mapping[str, str], secret: str) -> str:
    """The signature of an address's parameters."""
    return hmac.digest(secret.encode(), canonical(kind, parameters).encode(), hashlib.sha256).hex()


def signed_path(kind: str, parameters: Mapping[str, str], secret: str) -> str:
    """The path and query to put after the pages' own address. Raises `InvalidLink` for what would be refused."""
    checked(kind, parameters)
    return f"/widgets/{kind}?{_query(parameters)}&signature={signature_of(kind, parameters, secret)}"


def whole(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], str]:
    """The parameters of an address and its signature. Raises `InvalidLink` where one is there twice or far too long."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidLink(f"the link has {name[:20]!r} twice")
        if len(value) > (VALUE_LIMIT * 10 if name == "ancestors" else VALUE_LIMIT) or len(found) > len(Asked._fields):
            raise InvalidLink("the link is longer than any that was made for a widget")
        found[name] = value
    return found, found.pop("signature", "")


def is_signed(kind: str, parameters: Mapping[str, str], signature: str, secret: str) -> bool:
    """Whether this is the signature, in a time that says nothing of where it differs."""
    expected = signature_of(kind, parameters, secret)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def checked(kind: str, parameters: Mapping[str, str]) -> Asked:
    """What the parameters ask for. Raises `InvalidLink`, which names the one that is wrong."""
    if kind not in KINDS:
        raise InvalidLink(f"{kind[:30]!r} is no widget; there are {', '.join(KINDS)}")
    for name in NEEDED:
        if not parameters.get(name):
            raise InvalidLink(f"the link lacks {name!r}")
    if kind == "entity-risk" and not parameters.get("entity", "").strip():
        raise InvalidLink("the link lacks 'entity', whose risk is asked for")
    for name in parameters:
        if name not in (*NEEDED, "theme", *OWN[kind]):
            raise InvalidLink(f"{kind} takes no {name[:30]!r}")
    expires, scheme = parameters["expires"], parameters.get("theme", "auto")
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
        raise InvalidLink(f"{expires[:20]!r} is no time; 'expires' is in seconds since 1970")
    if scheme not in SCHEMES:
        raise InvalidLink(f"{scheme[:20]!r} is no theme; there are {', '.join(SCHEMES)}")
    span = parameters.get("span", "hour")
    if span not in SPANS:
        raise InvalidLink(f"{span[:20]!r} is no span; there are {', '.join(SPANS)}")
    return Asked(
        kind=kind,
        key=parameters["key"],
        expires_s=int(expires),
        ancestors=origins(parameters["ancestors"]),
        scheme=scheme,
        entity=parameters.get("entity", ""),
        use_case=parameters.get("use_case", "fraud"),
        span=span,
    )


def origins(text: str) -> tuple[str, ...]:
    """The origins whose pages may show the widget. Raises `InvalidLink`: what is no plain origin could say more in a
    header than where from.

    >>> origins("https://shop.example http://localhost:8080")
    ('https://shop.example', 'http://localhost:8080')
    """
    found = tuple(text.split())
    if not 1 <= len(found) <= ANCESTORS_LIMIT:
        raise InvalidLink(f"a widget is shown by 1 to {ANCESTORS_LIMIT} origins, not {len(found)}")
    for one in found:
        if len(one) > VALUE_LIMIT or not _ORIGIN.fullmatch(one):
            raise InvalidLink(f"{one[:60]!r} is no origin; give one such as https://shop.example, in small letters")
    return found


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(parameters[name], safe='')}" for name in sorted(parameters))
