"""Signing in with an OIDC provider: authorization code with PKCE, state and nonce, then roles from a claim."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from review.account import AccountError
from review.oidc_provider import AUTHORIZE, TOKEN, ProviderFacts, ask
from review.oidc_token import InvalidToken, UnknownKey, claims_of
from review.person import ROLES, Role
from review.secret_token import is_same, new_token
from review.sign_in import Vouched
from stream.records import from_micros, micros

FLOW_LASTS = timedelta(minutes=10)
CLAIM_VALUES_LIMIT = 1000


class OidcRefused(AccountError):
    """This sign-in with the provider cannot go on; the text says why."""


@dataclass(frozen=True)
class OidcPolicy:
    """Who we are at the provider, and which of its words makes which role.

    `role_claim` is a claim of the ID token, with dots for claims within claims; it holds a text or a list of them.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    role_claim: str = "groups"
    roles: Mapping[str, Role] = field(default_factory=lambda: {role: role for role in ROLES})
    name_claim: str = "preferred_username"
    scopes: str = "openid profile email"

    def role(self, claims: Mapping[str, Any]) -> Role | None:
        """The highest role of those that the claim gives; None where it gives none."""
        found: Any = claims
        for part in self.role_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        values = found[:CLAIM_VALUES_LIMIT] if isinstance(found, list) else [found]
        given = {self.roles[value] for value in values if isinstance(value, str) and value in self.roles}
        return max(given, key=ROLES.index) if given else None


class Flow(msgspec.Struct, frozen=True):
    """What a browser keeps, in a cookie that no script reads, while its person is at the provider."""

    state: str
    nonce: str
    verifier: str
    next: str
    begun_at_us: int


class Begun(NamedTuple):
    """Where to send the browser, and the cookie it takes along."""

    address: str
    cookie: str


class Provider:
    """One OIDC provider. Its calls block while it is asked."""

    def __init__(self, policy: OidcPolicy, facts: ProviderFacts | None = None) -> None:
        self._policy = policy
        self._facts = facts or ProviderFacts(policy.issuer)
        self.name = urlsplit(policy.issuer).hostname or policy.issuer

    def begin(self, next_path: str, back: str, now: datetime) -> Begun:
        """Begin a sign-in that comes back to the address `back`. Raises `ProviderUnavailable`."""
        flow = Flow(new_token(), new_token(), new_token(), next_path, micros(now))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._policy.client_id,
            "redirect_uri": back,
            "scope": self._policy.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = self._facts.address(AUTHORIZE)
        joint = "&" if "?" in address else "?"
        cookie = base64.urlsafe_b64encode(msgspec.json.encode(flow)).rstrip(b"=").decode()
        return Begun(address + joint + urlencode(query), cookie)

    def finish(self, query: Mapping[str, str], cookie: str, back: str, now: datetime) -> tuple[Vouched, str]:
        """Whom the provider vouches for, and where they wanted to go.

        The cookie ties the answer to the browser that began: without it, somebody could have a person sign in to an
        account that is not theirs. Raises `OidcRefused` and `ProviderUnavailable`.
        """
        flow = _flow(cookie)
        if flow is None or not is_same(query.get("state", ""), flow.state):
            raise OidcRefused("this sign-in was not begun in this browser, or is over; begin again")
        if not timedelta() <= now - from_micros(flow.begun_at_us) <= FLOW_LASTS:
            raise OidcRefused(f"this sign-in took longer than {FLOW_LASTS.seconds // 60} minutes; begin again")
        # An answer of another provider, which an attacker runs, must not be taken to this one (RFC 9207).
        if query.get("iss", self._policy.issuer) != self._policy.issuer:
            raise OidcRefused("this answer is another provider's")
        if "error" in query or "code" not in query:
            raise OidcRefused(f"the provider says {query.get('error', 'nothing')[:100]!a}; begin again")
        token = self._token(query["code"], flow.verifier, back)
        try:
            claims = self._claims(token, flow.nonce)
        except InvalidToken as error:
            raise OidcRefused(str(error)) from error
        name = claims.get(self._policy.name_claim) or claims.get("email") or ""
        subject = f"{self._policy.issuer} {claims['sub']}"
        return Vouched(subject, str(name), self._policy.role(claims)), flow.next

    def _token(self, code: str, verifier: str, back: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        client, secret = self._policy.client_id, self._policy.client_secret
        if not secret or "client_secret_basic" not in self._facts.methods():
            form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
            answer = ask("POST", self._facts.address(TOKEN), form)
        else:
            # Both are encoded as form fields first (RFC 6749, 2.3.1).
            answer = ask("POST", self._facts.address(TOKEN), form, (quote(client, safe=""), quote(secret, safe="")))
        return str(answer.get("id_token", ""))

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        issuer, client = self._policy.issuer, self._policy.client_id
        try:
            return claims_of(token, self._facts.keys(), issuer, client, nonce)
        except UnknownKey:
            return claims_of(token, self._facts.keys(anew=True), issuer, client, nonce)


def _flow(cookie: str) -> Flow | None:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)), type=Flow)
    except ValueError:
        return None
