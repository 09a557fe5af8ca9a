"""Proof-of-possession: the `cnf` claim (RFC 7800), by certificate (RFC 8705) or by DPoP key (RFC 9449).

A token that is bound in a way that is not understood MUST be refused, not taken for a bearer token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from interlock.jose.encoding import Malformed, decode_base64url
from interlock.jose.errors import TokenRefused
from interlock.model import Reason


class Confirmation(msgspec.Struct, frozen=True):
    """What the bearer has to show; empty fields demand nothing."""

    certificate: bytes = b""  # SHA-256 of the client certificate, raw (`x5t#S256`)


def confirmation(claims: Mapping[str, Any]) -> Confirmation:
    """Read `cnf`; raises `TokenRefused` (token-binding) for a method that is not supported."""
    if "cnf" not in claims:
        return Confirmation()
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or set(cnf) != {"x5t#S256"}:
        methods = ", ".join(sorted(cnf))[:80] if isinstance(cnf, dict) else type(cnf).__name__
        raise TokenRefused(Reason.TOKEN_BINDING, f"bound by {methods or 'nothing'}, which is not supported")
    value = cnf["x5t#S256"]
    try:
        fingerprint = decode_base64url(value.encode("ascii")) if isinstance(value, str) else b""
    except (Malformed, UnicodeEncodeError):
        fingerprint = b""
    if len(fingerprint) != 32:
        raise TokenRefused(Reason.TOKEN_BINDING, "x5t#S256 is not a SHA-256 fingerprint")
    return Confirmation(fingerprint)
