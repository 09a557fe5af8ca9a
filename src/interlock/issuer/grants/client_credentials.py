"""A client asks for itself (RFC 6749 section 4.4). Never with a refresh token: it can ask again."""

from __future__ import annotations

import msgspec

from interlock.issuer.access import mint, of_client
from interlock.issuer.errors import OAuthError
from interlock.issuer.service import Issuer
from interlock.issuer.token import Asked, Given, audience_of, scopes_of

OF_PEOPLE = frozenset({"openid", "offline_access"})  # make no sense where nobody is signed in


def client_credentials(issuer: Issuer, asked: Asked) -> Given:
    client = asked.client
    if client.public:
        raise OAuthError("unauthorized_client", "a client without a credential has no token of its own")
    allowed = tuple(scope for scope in client.scopes if scope not in OF_PEOPLE)
    scopes = scopes_of(asked.form.get("scope"), allowed)
    access = of_client(client, scopes, audience_of(issuer, client, asked.form.get("resource")))
    access = msgspec.structs.replace(access, jkt=asked.jkt, certificate=asked.certificate)
    return Given(mint(issuer, access, asked.now, by="client_credentials"), scopes)
