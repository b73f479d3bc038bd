"""TLS of connections that Headrace opens: which files it takes, and what to do when it fails.

The server's certificate is always checked, name included, against the given authorities or the system's. There is no
switch that turns this off: an authority of one's own is one file.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


class TlsFiles(NamedTuple):
    """PEM files: the authorities that may have signed the server's certificate (empty: the system's), and our own
    certificate with its key, for a server that asks for one."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """What connections are made with. Raises `ValueError` for a file that cannot be used."""
        for path in self:
            if path and not Path(path).is_file():
                raise ValueError(f"there is no file {path}, which is given for TLS")
        if self.key and not self.cert:
            raise ValueError(f"the TLS key {self.key} is given without its certificate; give both")
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"{self.ca} holds no certificates of authorities (PEM): {error}") from None
        if self.cert:
            try:
                # Never ask a terminal for a pass phrase: a server has none.
                context.load_cert_chain(self.cert, self.key or None, password="")
            except (ssl.SSLError, OSError) as error:
                key = self.key or "the key in it"
                raise ValueError(f"{self.cert} and {key} are no certificate and its unencrypted key: {error}") from None
        return context


# As redis-py names them in a URL.
_NAMES = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}


def with_files(url: str, files: TlsFiles) -> str:
    """A `rediss://` URL that carries the files, so that whoever is given the URL connects alike.

    Raises `ValueError` where files are given for a URL without TLS.
    """
    parts = urlsplit(url)
    given = {_NAMES[name]: path for name, path in files._asdict().items() if path}
    if not given:
        return url
    if parts.scheme != "rediss":
        raise ValueError("files for TLS are given, but the URL does not begin with rediss://; write rediss://")
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **given})))


def files_of(url: str) -> TlsFiles:
    """The files that a URL carries. Raises `ValueError` for what else it asks for: nothing is switched off silently.

    >>> files_of("rediss://store:6379/0?ssl_ca_certs=/ca.pem").ca
    '/ca.pem'
    """
    asked = dict(parse_qsl(urlsplit(url).query))
    unknown = asked.keys() - set(_NAMES.values())
    if unknown:
        raise ValueError(f"a Redis URL takes no {', '.join(sorted(unknown))}; it takes {', '.join(_NAMES.values())}")
    return TlsFiles(*(asked.get(_NAMES[name], "") for name in TlsFiles._fields))


def without_password(url: str) -> str:
    """The URL for people to read.

    >>> without_password("rediss://user:secret@store:6379/1?ssl_ca_certs=/ca.pem")
    'rediss://user:***@store:6379/1'
    """
    head, at, place = url.partition("?")[0].rpartition("@")
    if not at:
        return place
    scheme, _, credentials = head.rpartition("//")
    user = credentials.partition(":")[0]
    return f"{scheme}//{user}:***@{place}"


def remedy_of(error: Exception, prefix: str) -> str:
    """What to do about a connection that failed, given the settings' prefix; empty where TLS is not the reason."""
    text = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in text or "not valid for" in text:
            return "its certificate is for another name: connect by a name that it has, or have one made for this one"
        if "expired" in text or "not yet valid" in text:
            return "renew the server's certificate, or set the clock"
        return f"set {prefix}_CA to the PEM file of the authority that signed its certificate"
    if any(word in text.upper() for word in ("CERTIFICATE_REQUIRED", "CERTIFICATE REQUIRED", "HANDSHAKE_FAILURE")):
        return f"it asks for a certificate: give {prefix}_CERT and {prefix}_KEY"
    if any(word in text.upper() for word in ("UNKNOWN_CA", "UNKNOWN CA", "BAD_CERTIFICATE", "BAD CERTIFICATE")):
        return f"it does not accept the certificate in {prefix}_CERT: have one signed by an authority that it knows"
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError):
        # The reset may overtake the reason that the server gave.
        return f"it broke off: it asks for a certificate ({prefix}_CERT and {prefix}_KEY), or does not speak TLS there"
    if isinstance(error, TimeoutError) and "handshake" in text:
        return "it did not answer the handshake: it is slow, or does not speak TLS at that port"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS at that port, or not this version"
    return ""
