"""What our certificates say (RFC 5280, and CA/Browser Forum habits where they cost nothing).

Pure: keys, names and times in, an unsigned certificate out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock.clock import SECOND
from interlock.errors import UsageError

AUTHORITY_DAYS = 3650
EARLY = timedelta(minutes=5)  # peers' clocks are not all ours
_DNS = re.compile(r"(?:\*\.)?(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def authority(name: str, key: EllipticCurvePublicKey, now: int) -> x509.CertificateBuilder:
    """The CA itself: it signs leaves, and no other CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(subject, subject, key, now, timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def server(
    issuer: x509.Certificate, key: EllipticCurvePublicKey, names: list[str], now: int, life: timedelta
) -> x509.CertificateBuilder:
    """A server's certificate for DNS names and addresses; `UsageError` for what is neither."""
    if not names:
        raise UsageError("a server certificate needs a name")
    return _leaf(issuer, key, hosts(names), ExtendedKeyUsageOID.SERVER_AUTH, now, life)


def client(
    issuer: x509.Certificate, key: EllipticCurvePublicKey, uri: str, now: int, life: timedelta
) -> x509.CertificateBuilder:
    """A client's certificate for one URI, such as a SPIFFE ID; `UsageError` if it is none."""
    return _leaf(issuer, key, [_uri(uri)], ExtendedKeyUsageOID.CLIENT_AUTH, now, life)


def hosts(names: list[str]) -> list[x509.GeneralName]:
    """The names as a certificate holds them; `UsageError` for what is neither a host name nor an address."""
    return [_host(name) for name in names]


def _leaf(
    issuer: x509.Certificate,
    key: EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    now: int,
    life: timedelta,
) -> x509.CertificateBuilder:
    issuer_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    # An empty subject makes the alternative name the only one, and critical (RFC 5280 section 4.2.1.6).
    return (
        _builder(x509.Name([]), issuer.subject, key, now, life, no_later=issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    now: int,
    life: timedelta,
    no_later: datetime | None = None,
) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(now // SECOND, UTC)
    end = at + life if no_later is None else min(at + life, no_later)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - EARLY)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    lower = name.lower()
    if len(lower) > 253 or _DNS.fullmatch(lower) is None:
        raise UsageError(f"{name!r} is neither a host name nor an address")
    return x509.DNSName(lower)


def _uri(uri: str) -> x509.GeneralName:
    parts = urlsplit(uri)
    if not (parts.scheme and parts.netloc and uri.isascii() and uri.isprintable() and " " not in uri):
        raise UsageError(f"{uri!r} is not a URI such as spiffe://example.com/billing")
    return x509.UniformResourceIdentifier(uri)
