"""Addresses to which something secret may be sent."""

from __future__ import annotations

from urllib.parse import urlsplit

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def is_safe(url: str) -> bool:
    """Whether nobody on the way reads along: https, or this machine itself. Raises `ValueError` if it is no URL.

    >>> is_safe("https://example.org"), is_safe("http://[::1]:8080"), is_safe("http://example.org")
    (True, True, False)
    """
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS)
