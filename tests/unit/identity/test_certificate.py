"""Client certificates against a route's bundle: every way to be no good, and names."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from interlock.clock import SECOND
from interlock.identity import CertificateVerifier, RoleTable, certificate_handle, principal_handle
from interlock.model import Identity, PeerCertificate, Principal, Reason
from interlock.snapshot import TrustSpec
from tests.unit.identity.authorities import AT, CLIENT, DAY, Authority, Leaf
from tests.unit.identity.fakes import NOW, ROLES, FakeDirectory, identity, reason

URI = "spiffe://partner.example/billing"
PARTNERS = Authority()
STRANGERS = Authority("Strangers")


def trust(*authorities: Leaf, **members: Any) -> dict[str, TrustSpec]:
    pem = "".join(authority.pem for authority in authorities or (PARTNERS,))
    return {"partners": TrustSpec(**{"name": "partners", "ca_pem": pem, "principal": "san-uri", **members})}


def check(leaf: Leaf, bundles: dict[str, TrustSpec] | None = None, now: int = NOW) -> Any:
    return CertificateVerifier(bundles or trust(), ROLES, FakeDirectory()).verify(leaf.peer, "partners", now)


def test_a_good_certificate_names_its_holder() -> None:
    leaf = PARTNERS.issue(uris=[URI])
    who = identity(check(leaf, trust(roles_map={URI: ["teller", "interlock:admin"]})))
    assert who.principal == Principal("service", "partners", URI)
    assert who.methods == ("mtls",)
    assert who.trust == "partners"
    assert who.roles == {"teller"}  # interlock:* never comes from outside
    assert who.certificate == leaf.fingerprint
    assert who.handles == (certificate_handle(leaf.fingerprint), principal_handle(who.principal))


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("san-uri", {"uris": [URI], "dns": ["a.example"]}, URI),
        ("san-dns", {"dns": ["Billing.Partner.Example"]}, "billing.partner.example"),
        ("subject-cn", {"cn": "billing"}, "billing"),
        ("subject-cn", {"cn": "billing", "dns": ["x.example"]}, "billing"),
    ],
)
def test_names(kind: str, names: dict[str, Any], expected: str) -> None:
    assert identity(check(PARTNERS.issue(**names), trust(principal=kind))).principal.name == expected


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("san-uri", {"dns": ["a.example"]}),
        ("san-uri", {"cn": URI}),
        ("san-uri", {"uris": [URI, URI + "2"]}),
        ("san-dns", {"dns": ["a.example", "b.example"]}),
        ("san-dns", {"dns": ["*.example"]}),
        ("san-dns", {"cn": "a.example"}),
        ("subject-cn", {"uris": [URI]}),
        ("subject-cn", {"cn": "a\u202eb"}),
    ],
)
def test_a_certificate_without_exactly_one_name(kind: str, names: dict[str, Any]) -> None:
    assert reason(check(PARTNERS.issue(**names), trust(principal=kind))) is Reason.CERTIFICATE_PRINCIPAL


def test_a_name_can_be_mapped_to_a_principal() -> None:
    bundles = trust(principals={URI: "user:login.example.com/alice"})
    assert identity(check(PARTNERS.issue(uris=[URI]), bundles)).text == "user:login.example.com/alice"


def test_a_certificate_of_another_authority() -> None:
    assert reason(check(STRANGERS.issue(uris=[URI]))) is Reason.CERTIFICATE_UNTRUSTED


def test_an_authority_of_the_same_name_is_another_authority() -> None:
    assert reason(check(Authority().issue(uris=[URI]))) is Reason.CERTIFICATE_UNTRUSTED


def test_bundles_are_kept_apart() -> None:
    """What one bundle vouched for says nothing to the other."""
    bundles = {**trust(), "strangers": TrustSpec("strangers", STRANGERS.pem, "san-uri")}
    verifier = CertificateVerifier(bundles, ROLES, FakeDirectory())
    leaf = PARTNERS.issue(uris=[URI])
    assert isinstance(verifier.verify(leaf.peer, "partners", NOW), Identity)
    assert reason(verifier.verify(leaf.peer, "strangers", NOW)) is Reason.CERTIFICATE_UNTRUSTED
    assert reason(verifier.verify(leaf.peer, "", NOW)) is Reason.CERTIFICATE_UNTRUSTED
    assert verifier.is_known(leaf.fingerprint, "partners")
    assert not verifier.is_known(leaf.fingerprint, "strangers")
    assert not verifier.is_known(leaf.fingerprint, "none")


@pytest.mark.parametrize(
    "use", [None, [], [ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]]
)
def test_a_certificate_that_is_not_for_clients(use: Any) -> None:
    assert reason(check(PARTNERS.issue(uris=[URI], use=use))) is Reason.CERTIFICATE_UNTRUSTED


def test_client_use_among_others_will_do() -> None:
    assert isinstance(check(PARTNERS.issue(uris=[URI], use=[ExtendedKeyUsageOID.SERVER_AUTH, *CLIENT])), Identity)


def test_an_intermediate_has_to_be_in_the_bundle() -> None:
    intermediate = Authority("Intermediate", parent=PARTNERS)
    leaf = intermediate.issue(uris=[URI])
    assert reason(check(leaf)) is Reason.CERTIFICATE_UNTRUSTED
    assert isinstance(check(leaf, trust(PARTNERS, intermediate)), Identity)
    assert isinstance(check(leaf, trust(intermediate)), Identity)


def test_a_leaf_cannot_issue() -> None:
    """Even one that is in the bundle, with or without saying that it is no authority."""
    for ca in (False, None):
        fake = Authority("Fake", parent=PARTNERS, ca=ca)
        assert reason(check(fake.issue(uris=[URI]), trust(PARTNERS, fake))) is Reason.CERTIFICATE_UNTRUSTED


def test_an_authority_that_may_not_sign_certificates() -> None:
    fake = Authority("Fake", sign=False)
    assert reason(check(fake.issue(uris=[URI]), trust(fake))) is Reason.CERTIFICATE_UNTRUSTED


def test_an_authoritys_own_certificate_is_no_clients() -> None:
    extra: list[Any] = [(x509.BasicConstraints(ca=True, path_length=None), True)]
    assert reason(check(PARTNERS.issue(uris=[URI], extensions=extra))) is Reason.CERTIFICATE_UNTRUSTED
    assert reason(check(PARTNERS)) is Reason.CERTIFICATE_UNTRUSTED


def test_a_self_signed_leaf() -> None:
    extra: list[Any] = [
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI)]), False),
        (x509.ExtendedKeyUsage(CLIENT), False),
    ]
    assert reason(check(Authority("Self", ca=False, extensions=extra))) is Reason.CERTIFICATE_UNTRUSTED


def test_a_critical_extension_that_is_not_understood() -> None:
    extra: list[Any] = [(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
    assert reason(check(PARTNERS.issue(uris=[URI], extensions=extra))) is Reason.CERTIFICATE_UNTRUSTED


@pytest.mark.parametrize(("allowed", "holds"), [("partner.example", True), ("other.example", False)])
def test_name_constraints_of_the_authority_hold(allowed: str, holds: bool) -> None:
    constraint = x509.NameConstraints([x509.DNSName(allowed)], None)
    authority = Authority("Constrained", extensions=[(constraint, True)])
    result = check(authority.issue(dns=["billing.partner.example"]), trust(authority, principal="san-dns"))
    assert isinstance(result, Identity) if holds else reason(result) is Reason.CERTIFICATE_UNTRUSTED


@pytest.mark.parametrize("days", [(-3, -1), (1, 3)])
def test_a_leaf_out_of_date(days: tuple[int, int]) -> None:
    leaf = PARTNERS.issue(uris=[URI], start=AT + days[0] * DAY, end=AT + days[1] * DAY)
    assert reason(check(leaf)) is Reason.CERTIFICATE_EXPIRED


def test_an_authority_out_of_date() -> None:
    old = Authority("Old", end=AT - DAY)
    assert reason(check(old.issue(uris=[URI]), trust(old))) is Reason.CERTIFICATE_UNTRUSTED


def test_dates_of_the_whole_path_are_looked_at_on_every_call() -> None:
    authority = Authority("Short", end=AT + DAY)
    leaf = authority.issue(uris=[URI], end=AT + 30 * DAY)
    verifier = CertificateVerifier(trust(authority), ROLES, FakeDirectory())
    assert isinstance(verifier.verify(leaf.peer, "partners", NOW), Identity)
    end = NOW + 86400 * SECOND
    assert isinstance(verifier.verify(leaf.peer, "partners", end), Identity)
    assert reason(verifier.verify(leaf.peer, "partners", end + SECOND)) is Reason.CERTIFICATE_EXPIRED


def test_a_fingerprint_of_another_certificate() -> None:
    """Whoever could name the fingerprint of a verified leaf would be that leaf."""
    verifier = CertificateVerifier(trust(), ROLES, FakeDirectory())
    good, bad = PARTNERS.issue(uris=[URI]), STRANGERS.issue(uris=[URI])
    lie = PeerCertificate(good.peer.der, bad.fingerprint)
    assert reason(verifier.verify(lie, "partners", NOW)) is Reason.CERTIFICATE_UNVERIFIED


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"rubbish" * 100])
def test_what_is_no_certificate(der: bytes) -> None:
    import hashlib

    peer = PeerCertificate(der, hashlib.sha256(der).digest())
    assert reason(CertificateVerifier(trust(), ROLES, FakeDirectory()).verify(peer, "partners", NOW)) is (
        Reason.CERTIFICATE_UNTRUSTED
    )


@pytest.mark.parametrize(
    "pem", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\u00e9"]
)
def test_a_bundle_that_cannot_be_read_trusts_nobody(pem: str) -> None:
    assert reason(check(PARTNERS.issue(uris=[URI]), trust(ca_pem=pem))) is Reason.CERTIFICATE_UNTRUSTED


def test_a_leaf_is_verified_once_and_a_stranger_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from interlock.identity.bundle import TrustBundle

    calls: list[int] = []
    real = TrustBundle.verify

    def counted(self: TrustBundle, leaf: Any, now: int) -> tuple[int, int]:
        calls.append(now)
        return real(self, leaf, now)

    monkeypatch.setattr(TrustBundle, "verify", counted)
    verifier = CertificateVerifier(trust(), ROLES, FakeDirectory())
    good, bad = PARTNERS.issue(uris=[URI]), STRANGERS.issue(uris=[URI])
    for _ in range(3):
        verifier.verify(good.peer, "partners", NOW)
        verifier.verify(bad.peer, "partners", NOW)
    assert len(calls) == 2


@pytest.mark.parametrize("what", ["certificate", "principal"])
def test_revocation_holds_on_the_next_call(what: str) -> None:
    directory = FakeDirectory()
    verifier = CertificateVerifier(trust(), ROLES, directory)
    leaf = PARTNERS.issue(uris=[URI])
    who = identity(verifier.verify(leaf.peer, "partners", NOW))
    directory.revoke(certificate_handle(leaf.fingerprint) if what == "certificate" else principal_handle(who.principal))
    for _ in range(2):
        assert reason(verifier.verify(leaf.peer, "partners", NOW)) is Reason.CREDENTIAL_REVOKED


def test_one_revoked_before_it_was_ever_seen() -> None:
    directory = FakeDirectory()
    leaf = PARTNERS.issue(uris=[URI])
    directory.revoke(certificate_handle(leaf.fingerprint))
    verifier = CertificateVerifier(trust(), ROLES, directory)
    assert reason(verifier.verify(leaf.peer, "partners", NOW)) is Reason.CREDENTIAL_REVOKED


def test_a_new_snapshot() -> None:
    verifier = CertificateVerifier(trust(), ROLES, FakeDirectory())
    leaf = PARTNERS.issue(uris=[URI])
    first = verifier.verify(leaf.peer, "partners", NOW)
    verifier.configure(trust(), RoleTable({**ROLES._roles}))
    assert verifier.verify(leaf.peer, "partners", NOW) is first
    verifier.configure(trust(roles_map={URI: ["teller"]}), ROLES)
    assert identity(verifier.verify(leaf.peer, "partners", NOW)).roles == {"teller"}
    verifier.configure(trust(STRANGERS), ROLES)
    assert reason(verifier.verify(leaf.peer, "partners", NOW)) is Reason.CERTIFICATE_UNTRUSTED
    verifier.configure({}, ROLES)
    assert reason(verifier.verify(leaf.peer, "partners", NOW)) is Reason.CERTIFICATE_UNTRUSTED
