"""JWK thumbprint (RFC 7638; RFC 8037 appendix A.3 for OKP): the SHA-256 of what makes a public key, no more."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from interlock.jose.encoding import Malformed

# Required members in the order of RFC 7638 section 3.3, which is that of their names.
_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_VALUE = re.compile(r"[A-Za-z0-9_-]+")  # base64url, and the names of curves: nothing that JSON could write in two ways


def thumbprint(jwk: Mapping[str, Any]) -> bytes:
    """32 bytes, raw; `Malformed` for what is no public key of a known type. What else the JWK says does not count."""
    names = _MEMBERS.get(jwk["kty"]) if isinstance(jwk.get("kty"), str) else None
    if names is None:
        raise Malformed("no thumbprint: kty")
    members = {}
    for name in names:
        value = jwk.get(name)
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise Malformed(f"no thumbprint: {name}")
        members[name] = value
    return hashlib.sha256(json.dumps(members, separators=(",", ":")).encode("ascii")).digest()
