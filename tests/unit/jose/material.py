"""Keys and tokens for tests, good and bad; nothing here checks anything."""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

CHECKOUT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("INTERLOCK_VECTORS") or CHECKOUT.parent / "shared" / "vectors")  # of others' vectors
ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512"),
]


@cache
def rsa(kid: str = "rsa", bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid})


@cache
def ec(kid: str = "ec", curve: Any = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


@cache
def ed(kid: str = "ed") -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def oct_key(kid: str = "oct") -> OctKey:
    return OctKey.import_key({"kty": "oct", "kid": kid, "k": b64(b"s" * 64)})


def public(*keys: Key, **members: Any) -> str:
    """A JWK Set of the public halves, each with `members` added."""
    return json.dumps({"keys": [{**key.as_dict(private=False), **members} for key in keys]})


def sign(header: dict[str, Any], payload: bytes, key: Key) -> bytes:
    """A token as an honest library makes it, for any header."""
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    return jws.serialize_compact(header, payload, key, registry=registry).encode()


def forge(header: dict[str, Any] | bytes, payload: bytes, key: Key | None, algorithm: str = "") -> bytes:
    """A token whose header says whatever it likes, signed with `algorithm` all the same."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    signing = (b64(raw) + "." + b64(payload)).encode()
    signature = jws.JWSRegistry.algorithms[algorithm].sign(signing, key) if key is not None else b""
    return signing + b"." + b64(signature).encode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
