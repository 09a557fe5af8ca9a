"""Proof-of-possession: the `cnf` claim (RFC 7800), by certificate (RFC 8705) or by DPoP key (RFC 9449).

A token that is bound in a way that is not understood MUST be refused, not taken for a bearer token; one that is
bound in both ways asks for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from interlock.jose.encoding import Malformed, decode_base64url
from interlock.jose.errors import TokenRefused
from interlock.model import Reason

_METHODS = frozenset({"x5t#S256", "jkt"})


class Confirmation(msgspec.Struct, frozen=True):
    """What the bearer has to show; empty fields demand nothing."""

    certificate: bytes = b""  # SHA-256 of the client certificate, raw (`x5t#S256`)
    key: bytes = b""  # thumbprint of the key that proofs are made with, raw (`jkt`)


def confirmation(claims: Mapping[str, Any]) -> Confirmation:
    """Read `cnf`; raises `TokenRefused` (token-binding) for a method that is not supported."""
    if "cnf" not in claims:
        return Confirmation()
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or not cnf or not cnf.keys() <= _METHODS:
        methods = ", ".join(sorted(cnf))[:80] if isinstance(cnf, dict) else type(cnf).__name__
        raise TokenRefused(Reason.TOKEN_BINDING, f"bound by {methods or 'nothing'}, which is not supported")
    return Confirmation(_sha256(cnf, "x5t#S256"), _sha256(cnf, "jkt"))


def _sha256(cnf: Mapping[str, Any], method: str) -> bytes:
    """Empty if the method is not named; what is named MUST be a hash of 32 bytes."""
    if method not in cnf:
        return b""
    value = cnf[method]
    try:
        decoded = decode_base64url(value.encode("ascii")) if isinstance(value, str) else b""
    except (Malformed, UnicodeEncodeError):
        decoded = b""
    if len(decoded) != 32:
        raise TokenRefused(Reason.TOKEN_BINDING, f"{method} is not a SHA-256 hash")
    return decoded
