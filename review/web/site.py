"""Where the pages are: the addresses that may be asked for and the names of the cookies that follow from them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
NEXT_LIMIT = 500
HOME = "/review"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")


class InvalidSite(ValueError):
    """The pages cannot be served under this URL."""


class Site:
    """The public URL, or, with none, this machine alone under any of its own names.

    A request for another host is refused: what it says of itself ends up in links, and a name that an attacker lets
    point at this machine would make it theirs (DNS rebinding).
    """

    def __init__(self, public_url: str = "") -> None:
        self._host = ""
        self.is_secure = False
        if public_url:
            url = urlsplit(public_url)
            if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/") or "@" in url.netloc:
                raise InvalidSite(f"{public_url!r} is no address of pages; give one such as https://review.example.org")
            if url.scheme == "http" and _name(url.netloc) not in LOCAL_HOSTS:
                raise InvalidSite(f"{public_url!r} would send passwords unencrypted; give an https address")
            self.is_secure = url.scheme == "https"
            self._host = _plain(url.netloc.lower(), url.scheme)

    @property
    def scheme(self) -> str:
        """`https`, or `http` on this machine alone."""
        return "https" if self.is_secure else "http"

    def has_host(self, host: str) -> bool:
        """Whether a request for this host is meant for us."""
        host = host.lower()
        if not _HOST.fullmatch(host):
            return False
        return _plain(host, self.scheme) == self._host if self._host else _name(host) in LOCAL_HOSTS

    def has_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is one of ours. `host` is one that `has_host` said yes to."""
        scheme, _, netloc = origin.lower().partition("://")
        return scheme == self.scheme and _plain(netloc, scheme) == _plain(host.lower(), scheme)

    def url(self, path: str, host: str = "") -> str:
        """The whole address of a path, to hand to somebody. `host`: what this request was for, where all are local."""
        return f"{self.scheme}://{self._host or (host if self.has_host(host) else 'localhost')}{path}"

    def cookie(self, name: str) -> str:
        """A cookie's name. `__Host-`: browsers take it from this host and over https alone, so that none is planted."""
        return f"__Host-headrace-{name}" if self.is_secure else f"headrace-{name}"

    def set_cookie(self, response: Response, name: str, value: str, *, max_age_s: int | None = None) -> None:
        """Set a cookie that no script reads and no other site's form sends."""
        response.set_cookie(
            self.cookie(name), value, max_age=max_age_s, path="/", secure=self.is_secure, httponly=True, samesite="lax"
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Have the browser forget a cookie."""
        response.delete_cookie(self.cookie(name), path="/", secure=self.is_secure, httponly=True, samesite="lax")

    def cookie_of(self, request: Request, name: str) -> str:
        """The value of a cookie, or nothing."""
        return request.cookies.get(self.cookie(name), "")[:4096]


def local_path(text: str) -> str:
    r"""Where to go on after signing in: `text` if it is a path of these pages, else the queue. Never another site.

    >>> [local_path(text) for text in ("/review/cases/7?x=1", "//evil.example", "/\\evil.example", "https://evil.example")]
    ['/review/cases/7?x=1', '/review', '/review', '/review']
    """
    # Browsers drop tabs and line ends within an address and take a backslash for a slash: printable ASCII without it.
    if len(text) > NEXT_LIMIT or not _LOCAL_PATH.fullmatch(text) or text.startswith(("/sign-", "/set-password")):
        return HOME
    return text


def _name(netloc: str) -> str:
    """The host without its port."""
    return netloc.partition("]")[0] + "]" if netloc.startswith("[") else netloc.partition(":")[0]


def _plain(netloc: str, scheme: str) -> str:
    """The host without the port that goes without saying."""
    return netloc.removesuffix(":443" if scheme == "https" else ":80")
