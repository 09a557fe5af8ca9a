"""The local authority: what it issues holds in real handshakes, and nowhere it should not."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from interlock.clock import SECOND, ManualClock, SystemClock
from interlock.errors import KeyMaterialError, RecordUnavailable, UsageError
from interlock.identity import CertificateVerifier, RoleTable
from interlock.keys import Keyring
from interlock.model import Event, Identity, PeerCertificate, Reason, Refusal
from interlock.pki import LocalAuthority, profile, renew_due
from interlock.snapshot import TrustSpec
from tests.unit.identity.fakes import FakeDirectory
from tests.unit.pki.handshake import client_context, handshake, server_context, write

URI = "spiffe://example.com/billing"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    (tmp_path / "keys").mkdir(mode=0o700)
    return Keyring(tmp_path / "keys", b"K" * 32)


@pytest.fixture
def authority(keyring: Keyring) -> LocalAuthority:
    return LocalAuthority.create(keyring)


# -- real handshakes


@pytest.mark.parametrize("name", ["localhost", "api.example.com", "127.0.0.1", "::1", "deep.wild.example.com"])
def test_a_client_that_trusts_the_authority_shakes_hands(authority: LocalAuthority, tmp_path: Path, name: str) -> None:
    names = ["localhost", "API.example.com", "127.0.0.1", "::1", "*.wild.example.com"]
    ours, _ = handshake(client_context(authority.pem), server_context(tmp_path, authority.issue_server(names)), name)
    assert ours.version() == "TLSv1.3"


def test_another_name_is_refused(authority: LocalAuthority, tmp_path: Path) -> None:
    server = server_context(tmp_path, authority.issue_server(["localhost"]))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"):
        handshake(client_context(authority.pem), server, "example.com")


def test_another_authority_is_refused(authority: LocalAuthority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = LocalAuthority.create(Keyring(tmp_path / "other", b"K" * 32))
    server = server_context(tmp_path, other.issue_server(["localhost"]))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_context(authority.pem), server, "localhost")


def test_a_client_certificate_in_a_handshake_and_behind_it(authority: LocalAuthority, tmp_path: Path) -> None:
    """What the server is shown is what `identity` verifies."""
    server = server_context(tmp_path, authority.issue_server(["localhost"]), authority.pem)
    client = client_context(authority.pem, tmp_path, authority.issue_client(URI))
    _, theirs = handshake(client, server, "localhost")
    der = theirs.getpeercert(binary_form=True)
    assert der is not None
    peer = PeerCertificate(der, hashlib.sha256(der).digest())
    trust = {"local": TrustSpec("local", authority.pem.decode(), "san-uri")}
    verifier = CertificateVerifier(trust, RoleTable({}), FakeDirectory())
    who = verifier.verify(peer, "local", SystemClock().wall())
    assert isinstance(who, Identity)
    assert who.text == f"service:local/{URI}"


def test_a_server_that_asks_gets_no_nobody(authority: LocalAuthority, tmp_path: Path) -> None:
    server = server_context(tmp_path, authority.issue_server(["localhost"]), authority.pem)
    with pytest.raises(ssl.SSLError):
        handshake(client_context(authority.pem), server, "localhost")


def test_a_server_certificate_is_no_clients(authority: LocalAuthority, tmp_path: Path) -> None:
    issued = authority.issue_server(["localhost"])
    server = server_context(tmp_path, issued, authority.pem)
    with pytest.raises(ssl.SSLError):
        handshake(client_context(authority.pem, tmp_path, issued), server, "localhost")
    der = x509.load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)
    trust = {"local": TrustSpec("local", authority.pem.decode(), "san-dns")}
    result = CertificateVerifier(trust, RoleTable({}), FakeDirectory()).verify(
        PeerCertificate(der, hashlib.sha256(der).digest()), "local", SystemClock().wall()
    )
    assert isinstance(result, Refusal)
    assert result.reason is Reason.CERTIFICATE_UNTRUSTED


def test_a_client_certificate_is_no_servers(authority: LocalAuthority, tmp_path: Path) -> None:
    server = server_context(tmp_path, authority.issue_client("spiffe://localhost/x"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_context(authority.pem), server, "localhost")


def test_a_leaf_cannot_issue(authority: LocalAuthority, tmp_path: Path) -> None:
    """Whoever steals a server's key cannot make more of them."""
    stolen = authority.issue_server(["localhost"])
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(stolen.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    parent = x509.load_pem_x509_certificate(stolen.certificate)
    forged_key = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(parent.subject)
        .public_key(forged_key.public_key())
        .serial_number(1)
        .not_valid_before(parent.not_valid_before_utc)
        .not_valid_after(parent.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), critical=True)
        .sign(key, SHA256())
    )
    leaf, _ = write(tmp_path, "forged", stolen)
    leaf.write_bytes(forged.public_bytes(Encoding.PEM) + stolen.certificate)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    command = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.pem"), "-untrusted", str(leaf), str(leaf)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_openssl_finds_nothing_to_object_to(authority: LocalAuthority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    for purpose, issued in (
        ("sslserver", authority.issue_server(["localhost"])),
        ("sslclient", authority.issue_client(URI)),
    ):
        leaf, _ = write(tmp_path, purpose, issued)
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        command += ["-CAfile", str(tmp_path / "ca.pem"), str(leaf)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr


# -- what certificates say


def test_the_authority_signs_leaves_and_no_other_authority(authority: LocalAuthority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_a_leaf_never_outlives_its_authority(keyring: Keyring) -> None:
    clock = ManualClock()
    authority = LocalAuthority.create(keyring, clock=clock)
    clock.advance(3640 * 86400)
    leaf = x509.load_pem_x509_certificate(authority.issue_server(["a.example"]).certificate)
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "names",
    [
        [],
        [""],
        ["a b"],
        ["-a.example"],
        ["a..b"],
        ["a.*.example"],
        ["*"],
        ["ex\u00e4mple.com"],
        ["a/b"],
        ["a\0.b"],
        ["1.2.3.4/8"],
        ["a" * 64],
        [".".join(["a" * 60] * 5)],
        ["https://a.example"],
    ],
)
def test_what_is_no_host_is_not_certified(authority: LocalAuthority, names: list[str]) -> None:
    with pytest.raises(UsageError):
        authority.issue_server(names)


@pytest.mark.parametrize(
    "uri", ["", "billing", "spiffe:/x", "spiffe:///x", "spiffe://a b/x", "spiffe://a/\n", "spiffe://\u00e4/x"]
)
def test_what_is_no_uri_is_not_certified(authority: LocalAuthority, uri: str) -> None:
    with pytest.raises(UsageError):
        authority.issue_client(uri)


def test_the_key_is_not_shown(authority: LocalAuthority) -> None:
    issued = authority.issue_server(["a.example"])
    assert b"PRIVATE" in issued.key
    assert "PRIVATE" not in repr(issued)


# -- keeping the key


def test_opened_again_it_is_the_same_authority(keyring: Keyring, authority: LocalAuthority) -> None:
    assert LocalAuthority.open(keyring).pem == authority.pem
    assert LocalAuthority.ensure(keyring).pem == authority.pem


def test_there_is_one_authority(keyring: Keyring, authority: LocalAuthority) -> None:
    with pytest.raises(KeyMaterialError, match="already"):
        LocalAuthority.create(keyring)
    assert LocalAuthority.open(keyring).pem == authority.pem


def test_nothing_is_kept_in_the_clear(keyring: Keyring, authority: LocalAuthority) -> None:
    for file in keyring.folder.iterdir():
        assert b"PRIVATE" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0


def test_a_missing_or_damaged_authority(keyring: Keyring) -> None:
    with pytest.raises(KeyMaterialError):
        LocalAuthority.open(keyring)
    for damaged in (b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        keyring.seal("ca", damaged)
        with pytest.raises(KeyMaterialError):
            LocalAuthority.open(keyring)


def test_a_key_and_a_certificate_that_do_not_match(keyring: Keyring, authority: LocalAuthority) -> None:
    pem = keyring.open("ca")
    other = ec.generate_private_key(ec.SECP256R1())
    forged = profile.authority("x", other.public_key(), SystemClock().wall()).sign(other, SHA256())
    keyring.seal("ca", pem[: pem.index(b"-----BEGIN CERT")] + forged.public_bytes(Encoding.PEM))
    with pytest.raises(KeyMaterialError, match="match"):
        LocalAuthority.open(keyring)


# -- on the record


class Record:
    def __init__(self) -> None:
        self.acts: list[tuple[Event, Mapping[str, Any]]] = []
        self.full = False

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        if self.full:
            raise RecordUnavailable("full")
        self.acts.append((event, details))
        return "id"


def test_what_is_issued_is_on_the_record(keyring: Keyring) -> None:
    record = Record()
    issued = LocalAuthority.create(keyring, recorder=record).issue_client(URI)
    assert record.acts == [
        (
            Event.CERTIFICATE_ISSUE,
            {"use": "client", "names": [URI], "serial": issued.serial, "not_after": issued.not_after},
        )
    ]


def test_what_cannot_be_recorded_is_not_issued(keyring: Keyring) -> None:
    record = Record()
    authority = LocalAuthority.create(keyring, recorder=record)
    record.full = True
    with pytest.raises(RecordUnavailable):
        authority.issue_server(["a.example"])


# -- renewal


@pytest.mark.parametrize(("day", "due"), [(-1, True), (0, False), (19, False), (20, True), (29, True), (31, True)])
def test_a_certificate_is_renewed_after_two_thirds_of_its_life(keyring: Keyring, day: int, due: bool) -> None:
    clock = ManualClock()
    issued = LocalAuthority.create(keyring, clock=clock).issue_server(["a.example"], days=30)
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    assert renew_due(leaf, clock.wall() + day * 86400 * SECOND) is due
