"""An OIDC provider on this machine that does what a test says, honest or not."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.until import LIMIT_S

CLIENT, SECRET = "headrace:pages", "a secret/with+signs"


@dataclass
class FakeProvider:
    """Its answers can be changed between requests: `claims` over what an honest one says, `metadata` likewise."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "ES256"
    kid: str = "first"
    asked: list[str] = field(default_factory=list)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    signs_with: Any = None
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def agree(self, address: str, **changes: str) -> str:
        """The person says yes at this address: the query with which their browser comes back."""
        query = dict(parse_qsl(urlsplit(address).query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": self.issuer} | changes
        return "&".join(f"{name}={value}" for name, value in answer.items())

    def public(self) -> dict[str, Any]:
        public: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return public | {"kid": self.kid, "use": "sig", "alg": "ES256"}

    def answer(self, path: str, form: dict[str, list[str]], authorization: str) -> tuple[int, object]:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            } | self.metadata
        if path == "/keys":
            return 200, {"keys": [self.public()]}
        if path == "/token":
            return self._token(form, authorization)
        return 404, {}

    def _token(self, form: dict[str, list[str]], authorization: str) -> tuple[int, object]:
        asked = self._codes.pop(form.get("code", [""])[0], None)  # a code is taken once
        basic = base64.b64encode(b"headrace%3Apages:a%20secret%2Fwith%2Bsigns").decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"][0].encode()).digest())
        if (
            asked is None
            or authorization != f"Basic {basic}"
            or form["redirect_uri"][0] != asked["redirect_uri"]
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "7", "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= {"preferred_username": "Ann", "groups": ["staff", "fraud-team"]}
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        key = None if self.algorithm == "none" else self.signs_with or self.key
        token = jwt.encode(claims, key, self.algorithm, headers={"kid": self.kid})  # type: ignore[arg-type]
        return 200, {"id_token": token, "access_token": "unused", "token_type": "Bearer"}


@contextmanager
def running_provider() -> Iterator[FakeProvider]:
    """A provider that answers on a free port."""
    provider = FakeProvider()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            form = parse_qs(self.rfile.read(length).decode())
            status, said = provider.answer(self.path, form, self.headers.get("authorization", ""))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if status == 302:
                self.send_header("location", str(said))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *said: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)
