"""An outside token issuer and a partner with a certificate, for the tour. Their keys are made on the spot.

Tokens are put together by hand (RFC 7515, compact form): the forged ones are what no library would make,
and the honest ones are then made by other code than checks them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = "https://login.tour.example"
AUDIENCE = "orders"
PARTNER = "spiffe://partner.example/robot"
HOUR = 3600


class Issuer:
    """Signs RS256 tokens for the user alice."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._numbers = 0

    def jwks(self) -> str:
        """The public key, as the issuer would publish it (RFC 7517)."""
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": "tour",
            "use": "sig",
            "alg": "RS256",
            "n": _b64(public.n.to_bytes(256, "big")),
            "e": _b64(public.e.to_bytes(3, "big")),
        }
        return json.dumps({"keys": [key]})

    def token(self, **changes: Any) -> str:
        """A good token, but for what `changes` says otherwise; a claim set to None is left out."""
        signing = self._unsigned({"alg": "RS256", "kid": "tour", "typ": "JWT"}, changes)
        return signing + "." + _b64(self._key.sign(signing.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def token_without_signature(self) -> str:
        """`alg: none`: everything right but for the proof."""
        return self._unsigned({"alg": "none", "typ": "JWT"}, {}) + "."

    def token_with_public_key_as_secret(self) -> str:
        """HS/RS confusion: an HMAC whose secret is the issuer's public key, which everybody has."""
        signing = self._unsigned({"alg": "HS256", "kid": "tour", "typ": "JWT"}, {})
        secret = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return signing + "." + _b64(hmac.digest(secret, signing.encode(), "sha256"))

    def token_altered(self) -> str:
        """A good token in which the subject was changed after signing."""
        head, _, proof = self.token().split(".")
        _, claims, _ = self.token(sub="mallory").split(".")
        return f"{head}.{claims}.{proof}"

    def _unsigned(self, header: dict[str, Any], changes: dict[str, Any]) -> str:
        now = int(time.time())
        self._numbers += 1
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "alice",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + HOUR,
            "jti": str(self._numbers),
            "groups": ["Readers"],
        }
        claims.update(changes)
        present = {name: value for name, value in claims.items() if value is not None}
        return _b64(json.dumps(header).encode()) + "." + _b64(json.dumps(present).encode())


class Partner:
    """A certificate authority of somebody else, and a client certificate from it."""

    def __init__(self, folder: Path) -> None:
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("Partner authority", authority_key, None, authority_key)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("Partner robot", key, authority, authority_key)
        self.ca_file = folder / "partners.pem"
        self.certificate_file = folder / "partner-robot.pem"
        self.ca_file.write_bytes(authority.public_bytes(Encoding.PEM))
        pem_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.certificate_file.touch(mode=0o600)
        self.certificate_file.write_bytes(pem_key + certificate.public_bytes(Encoding.PEM))
        self.thumbprint = _b64(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())  # RFC 8705 x5t#S256


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(PARTNER)]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
