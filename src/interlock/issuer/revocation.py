"""Token revocation (RFC 7009): a client gives back what it has. When it is told so, no worker takes it any more."""

from __future__ import annotations

from interlock.clock import SECOND
from interlock.issuer import refresh_tokens
from interlock.issuer.client_auth import authenticate
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import NO_STORE, Request, Response
from interlock.issuer.service import Issuer
from interlock.model import Event, Identity

DONE = Response(200, NO_STORE)


def revoke(issuer: Issuer, request: Request) -> Response:
    """One token. An unknown one is no fault (section 2.2), another client's is (section 2.1); raises `OAuthError`."""
    client = authenticate(issuer, request).client
    text = request.form.get("token")
    if text is None:
        raise OAuthError("invalid_request", "token is missing")
    if text.startswith("ilr_"):
        # Also of a former one: who lost the answer to a refresh has no other to give back.
        grant = refresh_tokens.family(issuer, text)
        if grant is not None and grant.client_id != client.client_id:
            raise _of_another()
        if grant is not None and not grant.revoked:
            refresh_tokens.revoke_family(issuer, grant, request.now, "revoked by the client")
        return DONE
    try:
        identity = issuer.tokens.verify(text.encode("ascii"), request.now)
    except UnicodeEncodeError:
        return DONE
    if isinstance(identity, Identity):
        if identity.claims.get("client_id") != client.client_id:
            raise _of_another()
        issuer.record.act(
            Event.GRANT_REVOKE,
            {
                "principal": identity.text,
                "client": client.client_id,
                "token": identity.credential,
                "why": "revoked by the client",
            },
        )
        issuer.revoker.token(identity.credential, identity.expires + 60 * SECOND)
    return DONE


def _of_another() -> OAuthError:
    """RFC 6749 section 5.2: "was issued to another client"."""
    return OAuthError("invalid_grant", "the token was issued to another client")
