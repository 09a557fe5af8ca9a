"""Access tokens: JWTs of RFC 9068, signed by the issuer's current key, or for a client that wants it so, references.

A reference says nothing to whoever reads it, the client included; each worker of this node knows what it stands for,
and other APIs ask by introspection.

Beside the claims of the standard, a token names its principal as the record writes it (`principal`), so that a
person and a client of the same name are never taken for each other (RFC 9068 section 5), and what it hangs on:
the sign-in session (`sid`), the family of refresh tokens (`fid`), and whatever it was exchanged for (`hangs_on`).
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import msgspec

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.issuer.errors import OAuthError
from interlock.issuer.ids import new_id
from interlock.issuer.service import Issuer
from interlock.jose.signing import encode_base64url
from interlock.model import Event
from interlock.store.clients import Client, Grant

log = logging.getLogger("interlock.issuer")

KIND = "at+jwt"
OPAQUE = "ila_"  # what an opaque token begins with; 256 random bits follow
UNAVAILABLE = OAuthError("temporarily_unavailable", "opaque tokens cannot be kept now", status=503)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token is to say."""

    client_id: str
    principal: str  # kind:interlock/name
    subject: str
    audience: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    details: tuple[dict[str, Any], ...] = ()
    session: str = ""
    family: str = ""
    auth_time: int = 0
    acr: str = ""
    amr: tuple[str, ...] = ()
    jkt: bytes = b""  # SHA-256 thumbprint of the DPoP key it is bound to
    certificate: bytes = b""  # SHA-256 of the certificate it is bound to
    act: dict[str, Any] | None = None  # who acts for the subject (RFC 8693 section 4.1)
    expires: int = 0  # wall ns; not later than this, 0: as the file says
    may_act: dict[str, Any] | None = None  # who may come to act for the subject (section 4.4)
    hangs_on: tuple[bytes, ...] = ()  # handles of the credentials it was exchanged for: it is refused with them
    origin: str = ""  # `jti` of what it was exchanged for, for the record


class Minted(msgspec.Struct, frozen=True):
    """A token and what is known of it."""

    text: str
    token_id: str
    expires_in: int  # seconds
    token_type: str  # RFC 6749 section 5.1

    def __repr__(self) -> str:
        return f"Minted(token_id={self.token_id!r})"


def of_client(client: Client, scopes: tuple[str, ...], audience: tuple[str, ...]) -> Access:
    """A token of the client itself (RFC 6749 section 4.4)."""
    return Access(
        client_id=client.client_id,
        principal=client.principal,
        subject=client.client_id,
        audience=audience,
        scopes=scopes,
        roles=client.roles,
    )


def of_grant(grant: Grant, scopes: tuple[str, ...] | None = None) -> Access:
    """A token under what somebody has allowed; it hangs on the session unless it is to outlive that."""
    return Access(
        client_id=grant.client_id,
        principal=grant.principal,
        subject=grant.subject,
        audience=grant.audience,
        scopes=grant.scopes if scopes is None else scopes,
        roles=grant.roles,
        details=grant.details,
        session="" if grant.offline else grant.session,
        family=grant.id,
        auth_time=grant.auth_time,
        acr=grant.acr,
        amr=grant.amr,
        jkt=grant.jkt,
        certificate=grant.certificate,
    )


def mint(issuer: Issuer, access: Access, now: int, *, by: str) -> Minted:
    """Sign the token and put on the record that it was issued. `by`: the grant type.

    Raises `RecordUnavailable`: what is not on the record is not given out.
    """
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
    opaque = _is_opaque(issuer, access.client_id)
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
    issuer.record.note(Event.TOKEN_ISSUE, details)
    if opaque:
        _keep(issuer, text, claims, now)
    return Minted(text, token_id, expires - seconds, "DPoP" if access.jkt else "Bearer")


def _is_opaque(issuer: Issuer, client_id: str) -> bool:
    known = issuer.registry.get(client_id)
    if known is None or not known.client.opaque:
        return False
    if issuer.references is None:
        raise UNAVAILABLE
    return True


def _keep(issuer: Issuer, text: str, claims: dict[str, Any], now: int) -> None:
    assert issuer.references is not None
    try:
        issuer.references.add(text, msgspec.json.encode(claims), claims["exp"] * SECOND, now)
    except SnapshotError as problem:
        log.error("an opaque token could not be kept: %s", problem)
        raise UNAVAILABLE from None
