"""Whom a bundle vouches for when a client of the issuer shows a certificate: every way to be no good."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock.clock import SECOND
from interlock.identity.handles import certificate_handle, principal_handle
from interlock.identity.vouching import Vouching
from interlock.snapshot import TrustSpec
from tests.unit.identity.authorities import AT, CLIENT, DAY, Authority, Leaf
from tests.unit.identity.fakes import NOW, FakeDirectory

URI = "spiffe://partner.example/billing"
PARTNERS = Authority()
STRANGERS = Authority("Strangers")


def vouching(directory: FakeDirectory | None = None, ca: str | None = None, **spec: Any) -> Vouching:
    values = {"name": "partners", "ca_pem": PARTNERS.pem if ca is None else ca, "principal": "san-uri", **spec}
    return Vouching(TrustSpec(**values), directory or FakeDirectory())


def holds(leaf: Leaf, now: int = NOW, **spec: Any) -> bool:
    return vouching(**spec).holds(leaf.peer.der, now)


def test_a_certificate_of_the_bundle_whatever_it_is_called() -> None:
    for names in ({"uris": [URI]}, {"dns": ["a.example"]}, {"cn": "billing"}, {"uris": [URI, f"{URI}/x"]}):
        assert holds(PARTNERS.issue(**names))


def test_a_path_through_an_authority_of_the_bundle() -> None:
    below = Authority("Below", parent=PARTNERS)
    assert not holds(below.issue(uris=[URI])), "the connection brings the leaf alone"
    assert holds(below.issue(uris=[URI]), ca=below.pem)


@pytest.mark.parametrize(
    "leaf",
    [
        STRANGERS.issue(uris=[URI]),
        Authority().issue(uris=[URI]),
        PARTNERS.issue(uris=[URI], use=None),
        PARTNERS.issue(uris=[URI], use=[ExtendedKeyUsageOID.SERVER_AUTH]),
        PARTNERS.issue(uris=[URI], use=[ExtendedKeyUsageOID.CODE_SIGNING]),
        PARTNERS.issue(uris=[URI], start=AT + DAY),
        PARTNERS.issue(uris=[URI], end=AT - DAY / 2),
        PARTNERS.issue(uris=[URI], extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
        PARTNERS.issue(uris=[URI], extensions=[(x509.UnrecognizedExtension(NameOID.COMMON_NAME, b"\x05\x00"), True)]),
        PARTNERS,
    ],
    ids=[
        *("strangers", "same-name", "no-usage", "server", "code-signing", "not-yet", "expired"),
        *("an-authority", "critical", "the-authority"),
    ],
)
def test_what_nobody_vouches_for(leaf: Leaf) -> None:
    assert not holds(leaf)


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * 100, PARTNERS.issue(uris=[URI]).peer.der[:-1]])
def test_what_is_no_certificate(data: bytes) -> None:
    assert not vouching().holds(data, NOW)


def test_a_bundle_that_cannot_be_read_vouches_for_nobody() -> None:
    for ca in ("", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert not holds(PARTNERS.issue(uris=[URI]), ca=ca)


def test_dates_count_each_time_also_those_of_the_authority() -> None:
    brief = Authority("Brief", end=AT + 2 * DAY)
    leaf = brief.issue(uris=[URI], use=CLIENT)
    found = vouching(ca=brief.pem)
    day = 86_400 * SECOND
    assert found.holds(leaf.peer.der, NOW)
    assert found.holds(leaf.peer.der, NOW + day)
    assert not found.holds(leaf.peer.der, NOW + 3 * day)
    assert found.holds(leaf.peer.der, NOW), "the clock was set back"


def test_what_was_revoked_is_refused_by_whatever_name() -> None:
    leaf = PARTNERS.issue(uris=[URI])
    nameless = PARTNERS.issue(dns=["a.example"])
    for handle in (certificate_handle(leaf.fingerprint), principal_handle(f"service:partners/{URI}")):
        directory = FakeDirectory()
        found = vouching(directory)
        assert found.holds(leaf.peer.der, NOW)
        directory.revoked.add(handle)
        assert not found.holds(leaf.peer.der, NOW)
        assert found.holds(nameless.peer.der, NOW)


def test_a_mark_refuses_what_was_issued_before_it() -> None:
    directory = FakeDirectory()
    found = vouching(directory, principals={URI: "service:interlock/billing"})
    leaf = PARTNERS.issue(uris=[URI])
    directory.marks[principal_handle("service:interlock/billing")] = NOW // SECOND
    assert not found.holds(leaf.peer.der, NOW)
    assert found.holds(PARTNERS.issue(uris=[URI], start=AT).peer.der, NOW)


def test_what_was_verified_is_remembered_with_its_bounds() -> None:
    found = vouching()
    leaves = [PARTNERS.issue(uris=[URI]) for _ in range(3)]
    for _ in range(3):
        assert all(found.holds(leaf.peer.der, NOW) for leaf in leaves)
    assert len(found._known.entries) == 3
    assert not found.holds(STRANGERS.issue(uris=[URI]).peer.der, NOW)
    assert len(found._known.entries) == 3
