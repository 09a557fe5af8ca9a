"""Certificate authorities for tests: good ones, and every way to be a bad one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock.clock import SECOND
from interlock.model import PeerCertificate
from tests.unit.identity.fakes import NOW

AT = datetime.fromtimestamp(NOW // SECOND, UTC)
DAY = timedelta(days=1)
CLIENT = [ExtendedKeyUsageOID.CLIENT_AUTH]


class Leaf:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def peer(self) -> PeerCertificate:
        der = self.certificate.public_bytes(Encoding.DER)
        return PeerCertificate(der, hashlib.sha256(der).digest())

    @property
    def fingerprint(self) -> bytes:
        return self.peer.fingerprint

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Authority(Leaf):
    """Issues whatever it is told to, right or wrong."""

    def __init__(
        self,
        name: str = "Partners",
        *,
        parent: Authority | None = None,
        ca: bool | None = True,
        sign: bool = True,
        extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
        start: datetime = AT - 10 * DAY,
        end: datetime = AT + 1000 * DAY,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        extra = list(extensions or [])
        if ca is not None:
            extra.append((x509.BasicConstraints(ca=ca, path_length=None), True))
        extra.append((usage(sign), True))
        made = _certificate(subject(name), key, parent.certificate if parent else None, start, end, extra)
        super().__init__(made.sign(parent.key if parent else key, SHA256()), key)

    def issue(
        self,
        *,
        uris: list[str] | None = None,
        dns: list[str] | None = None,
        cn: str = "",
        use: list[x509.ObjectIdentifier] | None = CLIENT,
        start: datetime = AT - DAY,
        end: datetime = AT + 30 * DAY,
        extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
    ) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris or []]
        names += [x509.DNSName(name) for name in dns or []]
        extra: list[tuple[x509.ExtensionType, bool]] = list(extensions or [])
        if names:
            extra.append((x509.SubjectAlternativeName(names), False))
        if use is not None:
            extra.append((x509.ExtendedKeyUsage(use), False))
        made = _certificate(subject(cn) if cn else x509.Name([]), key, self.certificate, start, end, extra)
        return Leaf(made.sign(self.key, SHA256()), key)


def subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(sign: bool) -> x509.KeyUsage:
    flags: dict[str, Any] = dict.fromkeys(
        [
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("crl_sign", "encipher_only", "decipher_only"),
        ],
        False,
    )
    return x509.KeyUsage(digital_signature=not sign, key_cert_sign=sign, **flags)


def _certificate(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    start: datetime,
    end: datetime,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder
