"""A workload asks with what another issuer says of it, in place of a secret (RFC 7523 section 2.1).

The issuer is one that `issuer.assertions` names, and the client is registered for exactly this issuer and `sub`: it is
the client's principal that the token is of. Whom an outside issuer knows is nobody here by that alone.

An assertion is good once, for us and nobody else, and for an hour at most; the token does not outlive it, and is
refused with it. A client without a credential may use this grant: the assertion is its credential.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from interlock.clock import SECOND
from interlock.identity import unnamed_token
from interlock.identity.handles import client_handle
from interlock.issuer import details
from interlock.issuer.access import of_client
from interlock.issuer.asked import Asked, Given
from interlock.issuer.errors import OAuthError
from interlock.issuer.grants.client_credentials import own_scopes
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.issuer.token import audience_of, scopes_of
from interlock.model import Identity, Pending, Reason, Refusal

LONGEST: Final = 3600 * SECOND  # of life that is left


def jwt_bearer(issuer: Issuer, asked: Asked) -> Given:
    client, form, now = asked.client, asked.form, asked.now
    text = form.get("assertion")
    if text is None:
        raise OAuthError("invalid_request", "assertion is missing")
    token = text.encode("ascii", "replace")
    found, leeway = _verify(issuer, token, now)
    claims = found.claims
    if client.assertion_issuer != found.issuer or claims["sub"] not in client.assertion_subjects:
        raise _refused(f"{found.text} does not speak for this client")
    # The verifier has seen that it is for us; here, that it is for nobody else, who could have passed it on.
    if claims.get("aud") not in (issuer.url, [issuer.url]):
        raise _refused("it is for others as well")
    if found.expires - now > LONGEST:
        raise _refused("it lives too long")
    access = msgspec.structs.replace(
        of_client(
            client,
            scopes_of(form.get("scope"), own_scopes(client)),
            audience_of(issuer, client, form.get("resource")),
        ),
        jkt=asked.jkt,
        certificate=asked.certificate,
        details=details.validate(issuer, client, form.get("authorization_details")),
        expires=min(found.expires, int(claims["exp"]) * SECOND),  # without leeway
        origin=found.credential,
        hangs_on=tuple(one for one in found.handles if one != client_handle(issuer.url, client.client_id)),
    )
    issuer.may_date(access.principal, access.client_id, now)
    # Last, so that nobody's failing try spends it.
    name = hashlib.sha256(
        f"assertion grant\0{found.issuer}\0{found.credential or unnamed_token(token)}".encode()
    ).digest()
    issued = found.issued * SECOND or found.expires - LONGEST  # it is as old as it may be unless it says so
    if not issuer.replays.claim(name, issued, found.expires, now, ahead=leeway, of=client):
        raise _refused("it was used before")
    issuer.use_proof(asked.request)
    return Given(mint(issuer, asked.client, access, now, by="jwt-bearer"), access.scopes, details=access.details)


def _verify(issuer: Issuer, token: bytes, now: int) -> tuple[Identity, int]:
    """Whom an assertion names, and by how much its issuer's clock may be ahead, in ns. Raises `OAuthError`."""
    if issuer.asserted is None:
        raise _refused("nobody's word is taken here")
    found = issuer.asserted.verify(token, now)
    if isinstance(found, Pending) or (isinstance(found, Refusal) and found.reason is Reason.ISSUER_UNAVAILABLE):
        raise OAuthError("temporarily_unavailable", "the keys of its issuer are being fetched", status=503)
    if isinstance(found, Refusal):
        raise _refused(f"{found.reason} {found.note}")
    known = issuer.asserted.issuer(found.issuer)
    return found, known.spec.leeway_s * SECOND if known is not None else 0


def _refused(note: str) -> OAuthError:
    """RFC 7521 section 4.1.1."""
    return OAuthError("invalid_grant", "the assertion is not good", note=note)
