"""Making access tokens: signed, and on the record before they are given out."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import msgspec

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.issuer.access import Access, Minted, said
from interlock.issuer.errors import OAuthError
from interlock.issuer.ids import new_id
from interlock.issuer.service import Issuer
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
    claims = {"iss": issuer.url, "exp": expires, "iat": seconds, "jti": token_id, **access.claims()}
    text = OPAQUE + secrets.token_urlsafe(32) if opaque else issuer.keys.signer.sign(claims, KIND)
    details: dict[str, Any] = {
        "principal": access.principal,
        "client": access.client_id,
        "token": token_id,
        "by": by,
        "audience": list(access.audience),
        "expires": expires,
    } | said(
        {
            "scope": claims.get("scope"),
            "grant": access.family,
            "act": access.act and access.act.get("sub", ""),
            "origin": access.origin,
            "details": sorted({entry["type"] for entry in access.details}),
            "bound": sorted(claims.get("cnf", ())),
            "opaque": opaque,
        }
    )
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
