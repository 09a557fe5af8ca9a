"""Token introspection (RFC 7662): an API asks whether a token holds. Whoever may not know learns "no"."""

from __future__ import annotations

from typing import Any

from interlock.clock import SECOND
from interlock.issuer import refresh_tokens
from interlock.issuer.client_auth import authenticate
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.service import Issuer
from interlock.model import Identity
from interlock.store.clients import Client, Grant

INACTIVE = {"active": False}
TOLD = (
    "iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "cnf", "act", "auth_time", "acr", "amr",
    "authorization_details", "sid", "roles",
)  # fmt: skip


def introspect(issuer: Issuer, request: Request) -> Response:
    """One question; raises `OAuthError` for a client that may not ask."""
    client = authenticate(issuer, request).client
    if client.public:
        raise OAuthError("invalid_client", "introspection needs a client that authenticates", status=401)
    text = request.form.get("token")
    if text is None:
        raise OAuthError("invalid_request", "token is missing")
    return json_response(_describe(issuer, client, text, request.now))


def _describe(issuer: Issuer, client: Client, text: str, now: int) -> dict[str, Any]:
    if text.startswith("ilr_"):
        grant = refresh_tokens.find(issuer, text)
        if grant is None or grant.client_id != client.client_id or not _stands(issuer, grant, now):
            return INACTIVE
        return {
            "active": True,
            "client_id": grant.client_id,
            "sub": grant.subject,
            "scope": " ".join(grant.scopes),
            "exp": grant.expires // SECOND,
        }
    try:
        identity = issuer.tokens.verify(text.encode("ascii"), now)
    except UnicodeEncodeError:
        return INACTIVE
    if not isinstance(identity, Identity) or not _may_know(client, identity):
        return INACTIVE
    claims = identity.claims
    bound = "jkt" in claims.get("cnf", {})
    told = {name: claims[name] for name in TOLD if name in claims}
    return {"active": True, **told, "token_type": "DPoP" if bound else "Bearer", "username": identity.principal.name}


def _stands(issuer: Issuer, grant: Grant, now: int) -> bool:
    """Whether the client could use the refresh token of a grant now. To ask is no sign of life of a session."""
    if not grant.usable(now) or issuer.withdrawn(grant):
        return False
    return not grant.account or issuer.people.stands(grant, now, alive=False)


def _may_know(client: Client, identity: Identity) -> bool:
    """The client it was issued to, and whom it is for (RFC 7662 section 4): an API that is registered as one."""
    claims = identity.claims
    if claims.get("client_id") == client.client_id:
        return True
    stated = claims.get("aud")
    audience = {stated} if isinstance(stated, str) else set(stated or ())
    return bool(audience & set(client.resources))
