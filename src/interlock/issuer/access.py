"""Access tokens: JWTs of RFC 9068, signed by the issuer's current key, or for a client that wants it so, references.

A reference says nothing to whoever reads it, the client included; each worker of this node knows what it stands for,
and other APIs ask by introspection.

Beside the claims of the standard, a token names its principal as the record writes it (`principal`), so that a
person and a client of the same name are never taken for each other (RFC 9068 section 5), and what it hangs on:
the sign-in session (`sid`), the family of refresh tokens (`fid`), and whatever it was exchanged for (`hangs_on`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.jose.signing import encode_base64url
from interlock.store.clients import Client, Grant


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

    def claims(self) -> dict[str, Any]:
        """What a token says of it, whoever signs it and when."""
        claims = {
            "sub": self.subject,
            "aud": self.audience[0] if len(self.audience) == 1 else list(self.audience),
            "client_id": self.client_id,
            "principal": self.principal,
        } | said(
            {
                "scope": " ".join(self.scopes),
                "roles": list(self.roles),
                "authorization_details": list(self.details),
                "sid": self.session,
                "fid": self.family,
                "auth_time": self.auth_time,
                "acr": self.acr,
                "amr": list(self.amr),
                "cnf": said({"jkt": encode_base64url(self.jkt), "x5t#S256": encode_base64url(self.certificate)}),
                "hangs_on": [encode_base64url(handle) for handle in self.hangs_on],
            }
        )
        if self.act is not None:
            claims["act"] = self.act
        if self.may_act is not None:  # an empty one says that nobody may
            claims["may_act"] = self.may_act
        return claims


class Minted(msgspec.Struct, frozen=True):
    """A token and what is known of it."""

    text: str
    token_id: str
    expires_in: int  # seconds
    token_type: str  # RFC 6749 section 5.1

    def __repr__(self) -> str:
        return f"Minted(token_id={self.token_id!r})"


def said(claims: dict[str, Any]) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in claims.items() if value}


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
