"""What a client may know of a person (OpenID Connect Core 1.0 section 5.3). The gateway has verified the token."""

from __future__ import annotations

from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.service import Issuer
from interlock.model import Identity


def userinfo(issuer: Issuer, request: Request) -> Response:
    """By the scopes of the token that came with the request."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    identity = issuer.tokens.verify(text.strip().encode("ascii", "replace"), request.now)
    if scheme.lower() not in ("bearer", "dpop") or not isinstance(identity, Identity):
        raise _challenge("invalid_token", 401)
    if "openid" not in identity.scopes:
        raise _challenge("insufficient_scope", 403)
    subject = identity.claims.get("sub")
    if identity.principal.kind != "user" or not isinstance(subject, str):
        raise _challenge("invalid_token", 401)
    claims = issuer.people.profile(subject, identity.scopes)
    if claims is None:
        raise _challenge("invalid_token", 401)
    return json_response({"sub": subject, **claims})


def _challenge(error: str, status: int) -> OAuthError:
    field = ("www-authenticate", f'Bearer realm="interlock", error="{error}"')
    return OAuthError(error, status=status, fields=(field,))
