"""Keys, a token and a certificate for one bench, made on the spot and kept nowhere else."""

from __future__ import annotations

import datetime
import ipaddress
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey
from peers import AUDIENCE, ISSUER, ROLE


@dataclass(frozen=True)
class Material:
    token: str
    jwks: str
    certificate: Path
    key: Path
    signer: RSAKey  # the issuer's

    def bound(self, thumbprint: str) -> str:
        """A token like the other, but bound to a key."""
        return _token(self.signer, f"bench-{thumbprint}", {"cnf": {"jkt": thumbprint}})

    def other(self, name: str, subject: str) -> str:
        """A token of somebody else."""
        return _token(self.signer, name, {"sub": subject})


def make(folder: Path) -> Material:
    folder.mkdir(parents=True, exist_ok=True)
    key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"}, private=True)
    token = _token(key, "bench-1", {})
    jwks = json.dumps({"keys": [key.as_dict(private=False)]})
    (folder / "jwks.json").write_text(jwks)
    certificate, private = _certificate(folder)
    return Material(token, jwks, certificate, private, key)


def _token(key: RSAKey, name: str, more: dict[str, Any]) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": now,
        "exp": now + 12 * 3600,
        "jti": name,
        "roles": [ROLE],
        **more,
    }
    return jwt.encode({"alg": "RS256", "kid": "bench", "typ": "JWT"}, claims, key)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed P-256 certificate for 127.0.0.1: both sides of a TLS row use the same."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "bench.pem", folder / "bench.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private
