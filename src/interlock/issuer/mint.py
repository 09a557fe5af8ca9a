"""Making access tokens: signed, and on the record before they are given out."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import msgspec

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.issuer.access import Access, Minted
from interlock.issuer.errors import OAuthError
from interlock.issuer.ids import new_id
from interlock.issuer.service import Issuer
from interlock.jose.signing import encode_base64url
from interlock.model import Event
from interlock.store.clients import Client

log = logging.getLogger("interlock.issuer")

KIND: Final = "at+jwt"
OPAQUE: Final = "ila_"  # what an opaque token begins with; 256 random bits follow
UNAVAILABLE: Final = OAuthError("temporarily_unavailable", "opaque tokens cannot be kept now", status=503)


def mint(issuer: Issuer, client: Client, access: Access, now: int, *, by: str) -> Minted:
    """Sign the token and put on the record that it was issued to the client. `by`: the grant type.

    Raises `RecordUnavailable`: what is not on the record is not given out.
    """
    opaque = client.opaque
    if opaque and issuer.references is None:
        raise UNAVAILABLE
    issuer.may_date(access.principal, access.client_id, now)
    seconds = now // SECOND
    expires = seconds + issuer.settings.access_token // SECOND
    if access.expires:
        expires = min(expires, access.expires // SECOND)
    if expires <= seconds:
        raise OAuthError("invalid_grant", "what it stands on has expired")
    token_id = new_id()
    claims: dict[str, Any] = {
        "iss": issuer.url,
        "sub": access.subject,
        "aud": access.audience[0] if len(access.audience) == 1 else list(access.audience),
        "exp": expires,
        "iat": seconds,
        "jti": token_id,
        "client_id": access.client_id,
        "principal": access.principal,
    }
    if access.scopes:
        claims["scope"] = " ".join(access.scopes)
    if access.roles:
        claims["roles"] = list(access.roles)
    if access.details:
        claims["authorization_details"] = list(access.details)
    if access.session:
        claims["sid"] = access.session
    if access.family:
        claims["fid"] = access.family
    if access.auth_time:
        claims["auth_time"] = access.auth_time
    if access.acr:
        claims["acr"] = access.acr
    if access.amr:
        claims["amr"] = list(access.amr)
    bound: dict[str, str] = {}
    if access.jkt:
        bound["jkt"] = encode_base64url(access.jkt)
    if access.certificate:
        bound["x5t#S256"] = encode_base64url(access.certificate)
    if bound:
        claims["cnf"] = bound
    if access.act is not None:
        claims["act"] = access.act
    if access.may_act is not None:
        claims["may_act"] = access.may_act
    if access.hangs_on:
        claims["hangs_on"] = [encode_base64url(handle) for handle in access.hangs_on]
    text = OPAQUE + secrets.token_urlsafe(32) if opaque else issuer.keys.signer.sign(claims, KIND)
    details: dict[str, Any] = {
        "principal": access.principal,
        "client": access.client_id,
        "token": token_id,
        "by": by,
        "audience": list(access.audience),
        "expires": expires,
    }
    if access.scopes:
        details["scope"] = claims["scope"]
    if access.family:
        details["grant"] = access.family
    if access.act is not None:
        details["act"] = access.act.get("sub", "")
    if access.origin:
        details["origin"] = access.origin
    if access.details:
        details["details"] = sorted({entry["type"] for entry in access.details})
    if bound:
        details["bound"] = sorted(bound)
    if opaque:
        details["opaque"] = True
    issuer.record.note(Event.TOKEN_ISSUE, details, at_once=opaque)
    if opaque:
        _keep(issuer, text, claims, now)
    return Minted(text, token_id, expires - seconds, "DPoP" if access.jkt else "Bearer")


def _keep(issuer: Issuer, text: str, claims: dict[str, Any], now: int) -> None:
    assert issuer.references is not None
    try:
        issuer.references.add(text, msgspec.json.encode(claims), claims["exp"] * SECOND, now)
    except SnapshotError as problem:
        log.error("an opaque token could not be kept: %s", problem)
        raise UNAVAILABLE from None
