"""Which certificates of OAuth clients a trust bundle vouches for (RFC 8705 section 2.1): their names are for others.

Unlike at a route, the certificate need not name a principal in the way of the bundle: the client is registered with
a name of its own. What was revoked is refused by either: the certificate, or the principal that it would name.
"""

from __future__ import annotations

import hashlib

from cryptography import x509

from interlock.identity.bundle import Nameless, TrustBundle, Untrusted, issued
from interlock.identity.cache import Cache
from interlock.identity.directory import KeyDirectory
from interlock.identity.handles import certificate_handle, principal_handle
from interlock.snapshot import TrustSpec

KEPT = 1024


class _Vouched:
    """A certificate that the bundle vouches for while `begins <= now < ends`."""

    __slots__ = ("begins", "ends", "handles", "issued")

    def __init__(self, begins: int, ends: int, issued: int, handles: tuple[bytes, ...]) -> None:
        self.begins = begins
        self.ends = ends
        self.issued = issued
        self.handles = handles


class Vouching:
    """One bundle, and what was verified against it."""

    def __init__(self, spec: TrustSpec, directory: KeyDirectory) -> None:
        self.spec = spec
        self._bundle = TrustBundle(spec)
        self._directory = directory
        self._known: Cache[bytes, _Vouched] = Cache(KEPT, KEPT * 32)

    def holds(self, certificate: bytes, now: int) -> bool:
        """Whether the bundle vouches for a certificate (DER) at `now` (wall ns), and nobody has revoked it."""
        fingerprint = hashlib.sha256(certificate).digest()
        found = self._known.entries.get(fingerprint)
        if found is None or not found.begins <= now < found.ends:
            try:
                found = self._examine(certificate, fingerprint, now)
            except (Untrusted, ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
                return False
            self._known.put(fingerprint, found)
        directory, dated = self._directory, found.issued
        return not any(directory.is_revoked(one) or directory.not_before(one) > dated for one in found.handles)

    def _examine(self, certificate: bytes, fingerprint: bytes, now: int) -> _Vouched:
        leaf = x509.load_der_x509_certificate(certificate)
        begins, ends = self._bundle.verify(leaf, now)
        handles = [certificate_handle(fingerprint)]
        try:
            name = self._bundle.name(leaf)
            handles.append(principal_handle(self.spec.principals.get(name) or f"service:{self.spec.name}/{name}"))
        except Nameless:
            pass
        return _Vouched(begins, ends, issued(leaf), tuple(handles))
