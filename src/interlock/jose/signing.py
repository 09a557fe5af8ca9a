"""Making compact JWS (RFC 7515 section 7.1): ES256 or EdDSA over Ed25519, with a private key of ours.

The signatures are `cryptography`'s; what stands here is their framing, which a general library spends as
much time on as on the signature itself.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from interlock.errors import KeyMaterialError

SIGNING: Final = ("ES256", "EdDSA")
_SHA256: Final = ECDSA(SHA256())
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_encode: Final = msgspec.json.Encoder().encode


class Signer:
    """One private key and the algorithm it is for. Its repr shows nothing of it."""

    def __init__(self, pem: bytes, algorithm: str) -> None:
        """`pem`: PKCS #8. `KeyMaterialError` if it is no key for the algorithm."""
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: under a password
            raise KeyMaterialError("a signing key is damaged") from error
        if algorithm == "ES256" and isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            numbers = key.public_key().public_numbers()
            members = {"crv": "P-256", "kty": "EC", "x": _number(numbers.x), "y": _number(numbers.y)}
        elif algorithm == "EdDSA" and isinstance(key, Ed25519PrivateKey):
            members = {"crv": "Ed25519", "kty": "OKP", "x": encode_base64url(key.public_key().public_bytes_raw())}
        else:
            raise KeyMaterialError(f"a signing key is not for {algorithm}")
        self._key = key
        self.algorithm = algorithm
        # RFC 7638: the members in the order of their names, without spaces.
        self.kid = encode_base64url(hashlib.sha256(_encode(members)).digest())
        self.jwk = {**members, "kid": self.kid, "alg": algorithm, "use": "sig"}
        self._headers: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Signer(kid={self.kid!r})"

    def sign(self, claims: Mapping[str, Any], kind: str) -> str:
        """A JWT of these claims; `kind` is its `typ`."""
        header = self._headers.get(kind)
        if header is None:
            header = self._headers[kind] = _part(_encode({"alg": self.algorithm, "typ": kind, "kid": self.kid}))
        text = header + b"." + _part(_encode(claims))
        key = self._key
        if isinstance(key, Ed25519PrivateKey):
            signature = key.sign(text)
        else:
            assert isinstance(key, EllipticCurvePrivateKey)
            r, s = decode_dss_signature(key.sign(text, _SHA256))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")  # RFC 7518 section 3.4
        return (text + b"." + _part(signature)).decode("ascii")


def make_key(algorithm: str) -> bytes:
    """A new private key for the algorithm, PKCS #8 PEM."""
    key = generate_private_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encode_base64url(data: bytes) -> str:
    """Without padding (RFC 7515 appendix C)."""
    return _part(data).decode("ascii")


def _part(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_URLSAFE).rstrip(b"=")


def _number(value: int) -> str:
    return encode_base64url(value.to_bytes(32, "big"))
