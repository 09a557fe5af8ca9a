"""Self-signed certificates of clients as anchors of the listeners' TLS (RFC 8705 section 2.2).

A handshake takes a certificate only if it knows who vouches for it, and a self-signed one vouches for itself. That
opens nothing: what it may do is looked up where it is used, and routes verify against their own bundles.

OpenSSL looks for an issuer by its name and key identifier. Two anchors that it could take for each other shut one of
them out, and one that could be taken for an authority shuts out whoever has a certificate of that authority. Whoever
may register a client MUST NOT be able to do that to others: the older one stays, the other is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from interlock.snapshot import TrustSpec
from interlock.store.clients import Client

Look = tuple[bytes, bytes]  # the subject, and the key identifier where both sides of it say the same; else empty


def anchors(clients: Iterable[Client], trust: Iterable[TrustSpec]) -> list[str]:
    """The certificates, in PEM, of the clients that are not disabled, the oldest first, that stand in nobody's way."""
    authorities = {one.subject.public_bytes() for bundle in trust for one in _certificates(bundle.ca_pem)}
    taken: dict[bytes, set[bytes]] = {}
    found: list[str] = []
    for client in clients:
        if client.disabled:
            continue
        for pem in client.certificates:
            for certificate in _certificates(pem):
                subject, key = _look(certificate)
                keys = taken.setdefault(subject, set())
                if pem in found or subject in authorities or key in keys or b"" in keys or (keys and not key):
                    continue
                keys.add(key)
                found.append(pem)
    return found


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode("ascii"))
    except ValueError:
        return []  # a bundle that cannot be read trusts nobody


def _look(certificate: x509.Certificate) -> Look:
    try:
        extensions = certificate.extensions
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return certificate.subject.public_bytes(), b""
    return certificate.subject.public_bytes(), own if own == issuer else b""
