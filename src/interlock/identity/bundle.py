"""One trust bundle: which client certificates it vouches for, and what they are called.

Verification is that of `cryptography.x509.verification` (RFC 5280): the path ends at a certificate of the
bundle, every issuer is a CA, every certificate is in date, and the leaf is meant for client
authentication. Certificates of the bundle count as anchors, intermediate ones included, since the
connection brings only the leaf.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from interlock.clock import SECOND
from interlock.snapshot import TrustSpec

MAX_DEPTH = 4


class Untrusted(Exception):
    """The bundle does not vouch for this certificate."""


class Nameless(Exception):
    """The certificate is vouched for, but does not name one principal in the configured way."""


class TrustBundle:
    """Immutable. Anchors that cannot be read make a bundle that trusts nobody (see `fault`)."""

    def __init__(self, spec: TrustSpec) -> None:
        self.spec = spec
        self.fault = ""
        try:
            self._store: Store | None = Store(x509.load_pem_x509_certificates(spec.ca_pem.encode("ascii")))
        except ValueError as error:
            self._store = None
            self.fault = str(error)

    def verify(self, leaf: x509.Certificate, now: int) -> tuple[int, int]:
        """Between which wall ns (end excluded) the whole path is in date; raises `Untrusted`."""
        if self._store is None:
            raise Untrusted(f"the bundle cannot be read: {self.fault}")
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(datetime.fromtimestamp(now // SECOND, UTC))
            .max_chain_depth(MAX_DEPTH)
            .extension_policies(ca_policy=_CA, ee_policy=_LEAF)
            .build_client_verifier()
        )
        try:
            chain = verifier.verify(leaf, []).chain
        except (VerificationError, ValueError) as error:
            raise Untrusted(str(error)) from error
        return max(_start(one) for one in chain), min(_end(one) for one in chain)

    def name(self, leaf: x509.Certificate) -> str:
        """The one name by which the bundle's setting calls the certificate's holder; raises `Nameless`."""
        kind = self.spec.principal
        if kind == "subject-cn":
            names = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        else:
            try:
                alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            except x509.ExtensionNotFound:
                raise Nameless("it has no subject alternative name") from None
            if kind == "san-uri":
                names = list(alternatives.get_values_for_type(x509.UniformResourceIdentifier))
            else:
                names = [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)]
        if len(names) != 1 or not names[0]:
            raise Nameless(f"it has {len(names)} names of kind {kind}, not one")
        if kind == "san-dns" and "*" in names[0]:
            raise Nameless("its name is a wildcard")
        return names[0]


def in_date(leaf: x509.Certificate, now: int) -> bool:
    return _start(leaf) <= now < _end(leaf)


def issued(leaf: x509.Certificate) -> int:
    """When it was, in whole seconds, as far as its dates say: authorities set the first of them back, never ahead."""
    return _start(leaf) // SECOND


def _start(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_before_utc.timestamp()) * SECOND


def _end(certificate: x509.Certificate) -> int:
    """The last second counts (RFC 5280 section 4.1.2.5)."""
    return (int(certificate.not_valid_after_utc.timestamp()) + 1) * SECOND


def _is_authority(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is not a certificate authority")


def _may_issue(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _for_clients(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("not meant for client authentication")


def _is_leaf(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError("a certificate authority's own certificate")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("its key may not sign a handshake")


# Private authorities seldom meet the rules of the web's; these are RFC 5280's own, and no looser than
# OpenSSL's purpose check. Critical extensions that are not named here are refused.
_CA = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_issue)
)
_LEAF = (
    ExtensionPolicy.permit_all()
    .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_clients)
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_leaf)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)
