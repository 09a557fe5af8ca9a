"""The key that signs what upstreams are told of a caller: Ed25519, PKCS #8 PEM; its id is the JWK thumbprint."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from interlock.errors import KeyMaterialError


def make() -> bytes:
    """A new private key."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_half(pem: bytes) -> bytes:
    """32 bytes, raw."""
    try:
        key = load_pem_private_key(pem, None)
    except ValueError as error:
        raise KeyMaterialError("key 'assertion': the contents are damaged") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyMaterialError("key 'assertion': the contents are no Ed25519 key")
    return key.public_key().public_bytes_raw()


def thumbprint(public: bytes) -> str:
    """The `kid` (RFC 7638, RFC 8037 section 2)."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public)}"}}'
    return _base64url(hashlib.sha256(members.encode()).digest())


def jwk(public: bytes) -> dict[str, str]:
    """The public half as upstreams read it."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _base64url(public),
        "kid": thumbprint(public),
        "alg": "EdDSA",
        "use": "sig",
    }


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
