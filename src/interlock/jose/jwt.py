"""JSON Web Token (RFC 7519), the part that needs no knowledge of who issued it.

MUST NOT look at what the claims say: that is the verifier of the issuer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from interlock.jose.encoding import Malformed, decode_json_object
from interlock.jose.errors import TokenRefused
from interlock.jose.jwk import KeySet
from interlock.jose.jws import Compact, split, verify_compact
from interlock.model import Reason


def verify_jwt(token: bytes, keys: KeySet, algorithms: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify a signed token; gives its header and claims, or raises `TokenRefused` with the reason."""
    compact = split(token)
    verify_compact(compact, keys, algorithms)
    return compact.header, claims_set(compact)


def claims_set(compact: Compact) -> dict[str, Any]:
    """The claims as they stand, verified or not: one JSON object without repeated names."""
    try:
        return decode_json_object(compact.payload)
    except Malformed as error:
        raise TokenRefused(Reason.TOKEN_MALFORMED, f"claims: {error}") from error
