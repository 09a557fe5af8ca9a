"""A client comes with a refresh token (RFC 6749 section 6): never for more than was allowed, bound as before."""

from __future__ import annotations

import hmac

import msgspec

from interlock.issuer import details, refresh_tokens
from interlock.issuer.access import of_grant
from interlock.issuer.asked import Asked, Given
from interlock.issuer.errors import OAuthError
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.issuer.token import scopes_of
from interlock.store.clients import Grant


def refresh_token(issuer: Issuer, asked: Asked) -> Given:
    text = asked.form.get("refresh_token")
    if text is None:
        raise OAuthError("invalid_request", "refresh_token is missing")
    grant = refresh_tokens.use(issuer, text, asked.client.client_id, asked.request)
    _check_binding(grant, asked)
    issuer.may_date(grant.principal, grant.client_id, asked.now)
    if grant.account and not issuer.people.stands(grant, asked.now):
        raise OAuthError("invalid_grant", "the refresh token is not good", note="who allowed it may not sign in now")
    scopes = scopes_of(asked.form.get("scope"), grant.scopes)
    resource = asked.form.get("resource")
    known = {*issuer.settings.audiences, *issuer.settings.resources}  # the file may have changed since
    audience = tuple(name for name in grant.audience if name in known and resource in (None, name))
    if not audience:
        raise OAuthError("invalid_target", "this was not allowed for that resource")
    found = details.narrowed(issuer, asked.client, asked.form.get("authorization_details"), grant.details)
    access = msgspec.structs.replace(
        of_grant(grant, scopes),
        audience=audience,
        jkt=asked.jkt,
        certificate=asked.certificate,
        details=found,
    )
    issuer.use_proof(asked.request)
    # Before the refresh token is spent: what cannot be recorded now can be asked for again.
    minted = mint(issuer, asked.client, access, asked.now, by="refresh_token")
    # FAPI 2.0 Security Profile section 5.3.2.1: not rotated where it is bound to the client anyway.
    if issuer.settings.profile is not None:
        refresh_tokens.keep(issuer, grant, asked.now)
        renewed = text
    else:
        renewed = refresh_tokens.rotate(issuer, grant, asked.now)
    return Given(minted, scopes, renewed, details=found)


def _check_binding(grant: Grant, asked: Asked) -> None:
    """What was bound stays so. A public client has nothing but the binding to show who it is (RFC 9449 section 5,
    RFC 8705 section 4): for it, to the same key and certificate."""
    if grant.jkt and (not asked.jkt or (asked.client.public and not hmac.compare_digest(grant.jkt, asked.jkt))):
        raise OAuthError("invalid_dpop_proof", "the refresh token is bound to a key")
    if grant.certificate and (
        not asked.certificate or (asked.client.public and not hmac.compare_digest(grant.certificate, asked.certificate))
    ):
        raise OAuthError("invalid_grant", "the refresh token is bound to a certificate")
