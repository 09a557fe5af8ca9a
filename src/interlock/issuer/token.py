"""The token endpoint (RFC 6749 section 3.2): who asks, by which grant, and what of it comes back."""

from __future__ import annotations

from typing import Any

from interlock.issuer.asked import Asked, GrantType
from interlock.issuer.client_auth import authenticate, certificate_thumbprint
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.store.clients import Client

CERTIFICATE_METHODS = ("tls_client_auth", "self_signed_tls_client_auth")


def token(issuer: Issuer, request: Request, grants: dict[str, GrantType]) -> Response:
    """One request for a token; raises `OAuthError`.

    A proof of possession is verified first, so that one that does not hold costs no assertion, and used up by the
    grant, when nothing else is in the way.
    """
    issuer.proof_of_possession(request)
    known = authenticate(issuer, request)
    name = request.form.get("grant_type", "")
    if not name:
        raise OAuthError("invalid_request", "grant_type is missing")
    grant = grants.get(name)
    if grant is None:
        raise OAuthError("unsupported_grant_type", "this grant type is not offered")
    if name not in known.client.grant_types:
        raise OAuthError("unauthorized_client", "the client may not use this grant type")
    asked = bind(issuer, request, known)
    given = grant(issuer, asked)
    issuer.use_proof(request)  # each grant has; nothing is handed out for one that was not
    answer: dict[str, Any] = {
        "access_token": given.access.text,
        "token_type": given.access.token_type,
        "expires_in": given.access.expires_in,
    }
    if given.scopes:
        answer["scope"] = " ".join(given.scopes)
    if given.details:
        answer["authorization_details"] = list(given.details)
    if given.refresh_token:
        answer["refresh_token"] = given.refresh_token
    if given.id_token:
        answer["id_token"] = given.id_token
    return json_response({**answer, **given.more})


def bind(issuer: Issuer, request: Request, known: Known) -> Asked:
    """To what the token will be bound: the key of a DPoP proof, the client's certificate, both, or nothing."""
    client = known.client
    jkt = issuer.proof_of_possession(request)
    if client.dpop_bound_access_tokens and not jkt:
        raise OAuthError("invalid_dpop_proof", "this client's tokens are bound: a DPoP proof is needed")
    certificate = b""
    if client.tls_client_certificate_bound_access_tokens:
        certificate = certificate_thumbprint(request)
        if not certificate or (client.certificates and certificate not in known.certificates):
            raise OAuthError("invalid_request", "this client's tokens are bound to its certificate: it was not shown")
    elif issuer.settings.profile is not None and not jkt:
        # FAPI 2.0 Security Profile section 5.3.2.1: only sender-constrained tokens.
        certificate = certificate_thumbprint(request)
        if not certificate:
            raise OAuthError("invalid_request", "tokens are bound here: show a certificate or a DPoP proof")
    return Asked(request, known, jkt, certificate)


def scopes_of(text: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """What is asked for of what is allowed (RFC 6749 section 3.3); all of it where nothing is asked for."""
    if text is None:
        return allowed
    wanted = tuple(dict.fromkeys(text.split(" ")))
    if not set(wanted) <= set(allowed):
        raise OAuthError("invalid_scope", "more is asked for than may be given")
    return wanted


def audience_of(issuer: Issuer, client: Client, resource: str | None) -> tuple[str, ...]:
    """For whom the token is (RFC 8707 section 2): what is asked for, of what the client may ask for."""
    settings = issuer.settings
    own = settings.audiences
    if resource is None and not client.resources:
        return own
    known = {*own, *settings.resources}  # the file may have changed since the client was made
    allowed = [one for one in client.resources or own if one in known]
    if resource is None:
        resource = allowed[0] if allowed else ""
    if resource not in allowed:
        raise OAuthError("invalid_target", "the client may not ask for tokens for this resource")
    return (resource,)
