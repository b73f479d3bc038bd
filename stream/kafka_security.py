"""How a Kafka connection is secured, as settings say it, and as kafka-python wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream.tls import TlsFiles

PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def remedy_of(options: Mapping[str, Any]) -> str:
    """What usually helps where a broker takes a connection and then says nothing: it refuses without a word."""
    if "sasl_mechanism" in options:
        names = "HEADRACE_KAFKA_USER, HEADRACE_KAFKA_PASSWORD and HEADRACE_KAFKA_MECHANISM"
        return f"it takes connections, so see whether {names} are right"
    return "it takes connections, so see whether HEADRACE_KAFKA_SECURITY is right and its log says why"


class KafkaSecurity(NamedTuple):
    """Encryption and identity. Raises `ValueError` from `options` where the parts do not fit."""

    protocol: str = "plaintext"
    files: TlsFiles = TlsFiles()
    user: str = ""
    password: str = ""
    mechanism: str = "SCRAM-SHA-512"

    def options(self) -> dict[str, Any]:
        """The settings of kafka-python's clients; nothing for plain text. Certificates are checked, names included.

        >>> KafkaSecurity("sasl_plaintext", user="me", password="secret", mechanism="PLAIN").options()["sasl_mechanism"]
        'PLAIN'
        """
        uses_tls, names_user = self.protocol.endswith("ssl"), self.protocol.startswith("sasl")
        if any(self.files) and not uses_tls:
            raise ValueError(f"files for TLS are given, and {self.protocol} uses none; set it to ssl or sasl_ssl")
        if names_user != bool(self.user and self.password):
            wanted = "needs kafka_user and kafka_password" if names_user else "takes no user; set it to sasl_ssl"
            raise ValueError(f"{self.protocol} {wanted}")
        found: dict[str, Any] = {}
        if self.protocol != "plaintext":
            found["security_protocol"] = self.protocol.upper()
        if uses_tls:
            found["ssl_context"] = self.files.context()
        if names_user:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return found
