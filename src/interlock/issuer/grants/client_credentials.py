"""A client asks for itself (RFC 6749 section 4.4). Never with a refresh token: it can ask again."""

from __future__ import annotations

import msgspec

from interlock.issuer import details
from interlock.issuer.access import of_client
from interlock.issuer.asked import Asked, Given
from interlock.issuer.errors import OAuthError
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.issuer.token import audience_of, scopes_of
from interlock.store.clients import Client

OF_PEOPLE = frozenset({"openid", "offline_access"})  # make no sense where nobody is signed in


def client_credentials(issuer: Issuer, asked: Asked) -> Given:
    client = asked.client
    if client.public:
        raise OAuthError("unauthorized_client", "a client without a credential has no token of its own")
    scopes = scopes_of(asked.form.get("scope"), own_scopes(client))
    text = asked.form.get("authorization_details")
    if text is not None and client.self_registered:
        raise OAuthError("invalid_authorization_details", "only people can allow this client that")
    found = details.validate(issuer, client, text)
    access = of_client(client, scopes, audience_of(issuer, client, asked.form.get("resource")))
    access = msgspec.structs.replace(access, jkt=asked.jkt, certificate=asked.certificate, details=found)
    issuer.use_proof(asked.request)
    return Given(mint(issuer, asked.client, access, asked.now, by="client_credentials"), scopes, details=found)


def own_scopes(client: Client) -> tuple[str, ...]:
    """What a client may have without anybody's consent. One that registered itself has nobody's word for any."""
    return () if client.self_registered else tuple(scope for scope in client.scopes if scope not in OF_PEOPLE)
