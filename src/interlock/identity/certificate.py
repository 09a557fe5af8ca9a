"""Verifies client certificates again, per route's trust bundle, after the handshake took them.

The handshake checked the leaf against the union of all bundles, which says nothing of the route's own. The
result is kept by fingerprint and bundle; dates are compared on every call, revocation when the epoch moved.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from cryptography import x509

from interlock.clock import SECOND
from interlock.identity.bundle import Nameless, TrustBundle, Untrusted, in_date, issued
from interlock.identity.cache import Cache
from interlock.identity.directory import KeyDirectory
from interlock.identity.handles import certificate_handle, limit_key, principal_handle
from interlock.identity.marks import is_refused
from interlock.identity.roles import RoleTable, mapped_roles
from interlock.model import Identity, PeerCertificate, Principal, Reason, Refusal
from interlock.snapshot import TrustSpec

VERIFIED = 4096  # per bundle
REFUSED = 1024  # per bundle
REFUSED_FOR = 5 * SECOND


class _Verified:
    """A leaf that the bundle vouches for while `not_before <= now < until`."""

    __slots__ = ("epoch", "identity", "not_before", "until")

    def __init__(self, identity: Identity, epoch: int) -> None:
        self.identity = identity
        self.not_before = identity.not_before
        self.until = identity.expires
        self.epoch = epoch


class _Bundle:
    """A bundle and what was verified against it; gone together when the bundle changes."""

    __slots__ = ("refused", "trust", "verified")

    def __init__(self, spec: TrustSpec) -> None:
        self.trust = TrustBundle(spec)
        self.verified: Cache[bytes, _Verified] = Cache(VERIFIED, VERIFIED * 32)
        self.refused: Cache[bytes, tuple[Refusal, int]] = Cache(REFUSED, REFUSED * 32)


class CertificateVerifier:
    """The trust bundles of the file."""

    def __init__(self, trust: Mapping[str, TrustSpec], roles: RoleTable, directory: KeyDirectory) -> None:
        self._roles = roles
        self._directory = directory
        self._bundles = {name: _Bundle(spec) for name, spec in trust.items()}

    def configure(self, trust: Mapping[str, TrustSpec], roles: RoleTable) -> None:
        """Take over a new snapshot; bundles that did not change keep what they verified."""
        same = roles == self._roles
        known = self._bundles
        self._roles = roles
        self._bundles = {
            name: known[name] if same and name in known and known[name].trust.spec == spec else _Bundle(spec)
            for name, spec in trust.items()
        }

    def is_known(self, fingerprint: bytes, trust: str) -> bool:
        """Whether this worker verified the leaf against that bundle (asked for resumed sessions)."""
        bundle = self._bundles.get(trust)
        return bundle is not None and fingerprint in bundle.verified.entries

    def verify(self, peer: PeerCertificate, trust: str, now: int) -> Identity | Refusal:
        """The identity of the certificate's holder, for a route of bundle `trust`; `now` in wall ns."""
        bundle = self._bundles.get(trust)
        if bundle is None:
            return Refusal(Reason.CERTIFICATE_UNTRUSTED, (), f"no trust bundle {trust!r}")
        entry = bundle.verified.entries.get(peer.fingerprint)
        if entry is None:
            known = bundle.refused.entries.get(peer.fingerprint)
            if known is not None and 0 <= now - known[1] < REFUSED_FOR:
                return known[0]
            examined = self._examine(peer, bundle, now)
            if isinstance(examined, Refusal):
                bundle.refused.put(peer.fingerprint, (examined, now))
                return examined
            entry = examined
        if not entry.not_before <= now < entry.until:
            return Refusal(Reason.CERTIFICATE_EXPIRED, (), entry.identity.text)
        epoch = self._directory.epoch
        if entry.epoch != epoch:
            if is_refused(self._directory, entry.identity):
                return Refusal(Reason.CREDENTIAL_REVOKED, (), entry.identity.text)
            entry.epoch = epoch
        return entry.identity

    def _examine(self, peer: PeerCertificate, bundle: _Bundle, now: int) -> _Verified | Refusal:
        # 1. The fingerprint, under which all is remembered, is that of this certificate.
        if not hmac.compare_digest(hashlib.sha256(peer.der).digest(), peer.fingerprint):
            return Refusal(Reason.CERTIFICATE_UNVERIFIED, (), "the fingerprint is not the certificate's")
        try:
            leaf = x509.load_der_x509_certificate(peer.der)
            # 2. Its own dates first: the commonest fault gets its own reason.
            if not in_date(leaf, now):
                return Refusal(Reason.CERTIFICATE_EXPIRED, (), "the certificate's dates")
            # 3. A path to the bundle, by RFC 5280.
            not_before, until = bundle.trust.verify(leaf, now)
            # 4. One name, mapped to a principal.
            name = bundle.trust.name(leaf)
            identity = self._identity(bundle.trust.spec, name, peer.fingerprint, (not_before, until), issued(leaf))
        except Untrusted as error:
            return Refusal(Reason.CERTIFICATE_UNTRUSTED, (), str(error)[:200])
        except Nameless as error:
            return Refusal(Reason.CERTIFICATE_PRINCIPAL, (), str(error)[:200])
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            return Refusal(Reason.CERTIFICATE_UNTRUSTED, (), f"cannot be read: {error!s:.160}")
        entry = _Verified(identity, -1)  # an epoch that never was: revocation is looked at before first use
        bundle.verified.put(peer.fingerprint, entry)
        return entry

    def _identity(
        self, spec: TrustSpec, name: str, fingerprint: bytes, valid: tuple[int, int], issued: int
    ) -> Identity:
        try:
            mapped = spec.principals.get(name)
            principal = Principal.parse(mapped) if mapped else Principal("service", spec.name, name)
        except ValueError as error:
            raise Nameless(f"its name makes no principal: {error}") from error
        text = str(principal)
        roles = mapped_roles((name,), spec.roles_map)
        return Identity(
            principal=principal,
            text=text,
            methods=("mtls",),
            roles=roles,
            permissions=self._roles.permissions(roles),
            claims={"certificate": name},
            trust=spec.name,
            not_before=valid[0],
            expires=valid[1],
            handles=(certificate_handle(fingerprint), principal_handle(text)),
            certificate=fingerprint,
            limit_key=limit_key(text),
            credential=fingerprint.hex(),
            issued=issued,
        )
