"""Certificates for tests, made by an authority of their own with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Authority(NamedTuple):
    """A certificate authority of one's own, in a folder."""

    folder: Path
    name: str

    @property
    def ca(self) -> str:
        return str(self.folder / f"{self.name}.pem")

    def issue(self, name: str, alternative: str) -> tuple[str, str]:
        """A certificate and its key."""
        key, request, cert = (str(self.folder / f"{name}-{self.name}.{end}") for end in ("key", "csr", "pem"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions = self.folder / f"{name}-{self.name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\nextendedKeyUsage=serverAuth,clientAuth\n")
        signed = ("-CA", self.ca, "-CAkey", self.ca, "-CAcreateserial", "-days", "2", "-extfile", str(extensions))
        openssl("x509", "-req", "-in", request, "-out", cert, *signed)
        return cert, key


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=240)


def authority(folder: Path, name: str) -> Authority:
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    usage = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,digitalSignature")
    where = ("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *where, *usage)
    (folder / f"{name}.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    return Authority(folder, name)
