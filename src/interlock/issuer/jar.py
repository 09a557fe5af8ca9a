"""Requests that the client has signed (RFC 9101): a JWT whose claims are the parameters; nothing beside it counts."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from interlock.clock import SECOND
from interlock.identity import claims as claim
from interlock.issuer.client_auth import ALGORITHMS, FAPI2_ALGORITHMS, LEEWAY, issued, keys_of
from interlock.issuer.errors import OAuthError
from interlock.issuer.registry import Known
from interlock.issuer.service import AUTHORIZE, Issuer
from interlock.jose import TokenRefused, claims_set, split, verify_compact

LONGEST = 3600 * SECOND  # of life; FAPI 2.0 Message Signing section 5.3.1
KINDS = frozenset({"", "jwt", "oauth-authz-req+jwt"})
OF_JWT = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "sub"})


def open_request(issuer: Issuer, known: Known, text: str, now: int) -> dict[str, str]:
    """The parameters in a request object; raises `OAuthError` (invalid_request_object)."""
    fapi2 = issuer.settings.profile is not None
    algorithms = FAPI2_ALGORITHMS if fapi2 else ALGORITHMS
    stated = known.client.request_object_signing_alg
    try:
        compact = split(text.encode("ascii", "replace"))
        claims = claims_set(compact)
        verify_compact(compact, keys_of(issuer, known), algorithms & {stated} if stated else algorithms)
        if "exp" not in claims:
            raise _refused("it has no exp")
        not_before, expires = claim.validity(claims, LEEWAY)
    except TokenRefused as problem:
        raise _refused(f"{problem.reason} {problem.note}") from None
    kind = compact.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in KINDS:
        raise _refused(f"typ {kind!r:.60}")
    audience = claims.get("aud")
    names = [audience] if isinstance(audience, str) else audience
    # The issuer's own name (section 4 says SHOULD). Libraries say the endpoint, or nothing, which is taken where no
    # profile forbids it: who is registered here has signed it.
    accepted = {issuer.url} if fapi2 else {issuer.url, issuer.endpoint(AUTHORIZE)}
    unsaid = audience is None and not fapi2
    if not unsaid and not (isinstance(names, list) and any(isinstance(one, str) and one in accepted for one in names)):
        raise _refused("it is for another audience")
    if claims.get("iss", known.client.client_id) != known.client.client_id or claims.get("client_id") != (
        known.client.client_id
    ):
        raise _refused("it is of another client")
    if not not_before <= now < expires or expires - max(not_before, 0) > LONGEST + 2 * LEEWAY * SECOND:
        raise _refused("it is expired, not yet valid, or lives too long")
    token_id = claims.get("jti")
    if isinstance(token_id, str) and token_id:
        name = hashlib.sha256(f"request\0{known.client.client_id}\0{token_id}".encode()).digest()
        since = issued(claims, expires)
        if not issuer.replays.claim(name, since, expires, now, ahead=LEEWAY * SECOND, of=known.client):
            raise _refused("it was used before")
    if "request" in claims or "request_uri" in claims:
        raise _refused("it holds another request")
    return {name: _text(name, value) for name, value in claims.items() if name not in OF_JWT}


def _text(name: str, value: Any) -> str:
    """A parameter as it would stand in a query (section 4: numbers and objects are allowed as JSON)."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    raise _refused(f"{name} is no text")


def _refused(note: str) -> OAuthError:
    return OAuthError("invalid_request_object", "the signed request is not good", note=f"request object: {note}")
