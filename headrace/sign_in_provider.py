"""The OIDC provider of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.settings import InvalidSetting, Settings

if TYPE_CHECKING:
    from review.oidc import Provider


def provider_of(settings: Settings) -> Provider | None:
    """The provider that people sign in with; None where none is set. It is not asked yet.

    Raises `InvalidSetting` for one without a client, or without https.
    """
    if not settings.oidc_issuer:
        return None
    from review.oidc import OidcPolicy, Provider
    from review.oidc_provider import InvalidIssuer

    if not settings.oidc_client_id:
        raise InvalidSetting("HEADRACE_OIDC_CLIENT_ID is empty; give what the provider calls these pages")
    try:
        return Provider(
            OidcPolicy(
                issuer=settings.oidc_issuer,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret,
                role_claim=settings.oidc_role_claim,
                roles=settings.oidc_roles,
                name_claim=settings.oidc_name_claim,
            )
        )
    except InvalidIssuer as error:
        raise InvalidSetting(str(error)) from None
