"""Tells clients that somebody has signed out (OpenID Connect Back-Channel Logout 1.0): what is said to each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from interlock.clock import SECOND
from interlock.issuer.ids import new_id
from interlock.issuer.service import Issuer
from interlock.store.clients import Grant

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LIVES = 120  # seconds (section 2.4)


class Farewell(msgspec.Struct, frozen=True):
    """One message. Its repr shows no token."""

    client_id: str
    uri: str
    logout_token: str

    def __repr__(self) -> str:
        return f"Farewell(client_id={self.client_id!r})"


def farewells(issuer: Issuer, sid: str, grants: Iterable[Grant], now: int) -> list[Farewell]:
    """For each client that somebody signed in to under this session, and that wants to be told."""
    found: dict[str, Farewell] = {}
    for grant in grants:
        known = issuer.registry.get(grant.client_id)
        if known is None or not known.client.backchannel_logout_uri or grant.client_id in found:
            continue
        seconds = now // SECOND
        claims = {
            "iss": issuer.url,
            "aud": grant.client_id,
            "iat": seconds,
            "exp": seconds + LIVES,
            "jti": new_id(),
            "sub": grant.subject,
            "sid": sid,
            "events": {EVENT: {}},
        }
        token = issuer.keys.signer.sign(claims, "logout+jwt")
        found[grant.client_id] = Farewell(grant.client_id, known.client.backchannel_logout_uri, token)
    return list(found.values())
