"""ID tokens of an OIDC provider: checked before a word of theirs is believed. The one file that knows PyJWT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from review.secret_token import is_same

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures that only the provider can make. Neither `none`, nor HS256, whose key a public one could be taken for."""
KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
LEEWAY_S = 60
SUBJECT_LIMIT = 255
REQUIRED = ["exp", "iat", "sub", "aud", "iss"]


class InvalidToken(ValueError):
    """The token is not from this provider, for us, now, for this sign-in; the text says which."""


class UnknownKey(InvalidToken):
    """Signed with a key that is not among these; the provider may have new ones."""


def claims_of(token: str, keys: Sequence[Mapping[str, Any]], issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """What the token says, all of it checked: signature, issuer, audience, times and nonce. Raises `InvalidToken`."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise InvalidToken(f"the provider's token cannot be read: {error}") from None
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise InvalidToken(f"the provider's token is signed by {str(algorithm)[:20]!r}, not by RS256, ES256 or EdDSA")
    key = _key(keys, header.get("kid"), algorithm)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": REQUIRED},
        )
    except jwt.PyJWTError as error:
        raise InvalidToken(f"the provider's token is not valid: {error}") from None
    if not isinstance(claims["sub"], str) or not 1 <= len(claims["sub"]) <= SUBJECT_LIMIT:
        raise InvalidToken("the provider's token is about nobody")
    audience = claims["aud"]
    if claims.get("azp", client_id) != client_id or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise InvalidToken("the provider's token was made for another application")
    if not is_same(str(claims.get("nonce", "")), nonce):
        raise InvalidToken("the provider's token belongs to another sign-in; begin again")
    return claims


def _key(keys: Sequence[Mapping[str, Any]], kid: object, algorithm: str) -> jwt.PyJWK:
    signing = [key for key in keys if key.get("kty") in KEY_TYPES and key.get("use", "sig") == "sig"]
    named = [key for key in signing if key.get("kid") == kid] if kid is not None else signing
    if len(named) != 1 or named[0].get("alg", algorithm) != algorithm:
        raise UnknownKey("the provider's token is signed with none of its keys")
    try:
        return jwt.PyJWK(dict(named[0]), algorithm)
    except jwt.PyJWTError as error:
        raise InvalidToken(f"the provider's key cannot be used: {error}") from None
