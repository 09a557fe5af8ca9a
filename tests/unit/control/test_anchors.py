"""Clients' self-signed certificates as anchors: each vouches for itself, and none stands in another's way.

The handshakes are OpenSSL's own, in memory, as a listener's are.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from interlock.control.anchors import anchors
from interlock.gateway.tls import Certificates
from interlock.snapshot import CertificateSpec, ListenerSpec, TrustSpec
from interlock.store.clients import Client
from tests.integration.certificates import Authority


class Own:
    """A self-signed certificate; `mark`: with both sides of a key identifier, or with a made-up one."""

    def __init__(self, name: str, *, mark: bool | bytes = True, ca: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if mark:
            own = x509.SubjectKeyIdentifier(mark if isinstance(mark, bytes) else self._digest())
            builder = builder.add_extension(own, critical=False).add_extension(
                x509.AuthorityKeyIdentifier(own.digest, None, None), critical=False
            )
        self.certificate = builder.sign(self.key, SHA256())
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def _digest(self) -> bytes:
        return x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest

    def files(self, folder: Path) -> tuple[Path, Path]:
        stem = folder / self.certificate.fingerprint(SHA256()).hex()[:16]
        stem.with_suffix(".pem").write_text(self.pem)
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        stem.with_suffix(".key").write_bytes(private)
        return stem.with_suffix(".pem"), stem.with_suffix(".key")


def client(number: int, *certificates: Own, **fields: Any) -> Client:
    return Client(
        client_id=f"c{number}",
        client_name="c",
        principal="service:interlock/c",
        created=number,
        certificates=tuple(one.pem for one in certificates),
        **fields,
    )


def bundle(*authorities: Authority | Own) -> TrustSpec:
    pem = "".join(one.pem if isinstance(one.pem, str) else one.pem.decode() for one in authorities)
    return TrustSpec("partners", pem, "san-uri")


def takes(folder: Path, known: list[str], files: tuple[Path, Path]) -> bool:
    """Whether a listener with these anchors takes a certificate in its handshake."""
    folder.mkdir(exist_ok=True)
    served = Authority("server").issue(folder, dns="localhost", server=True)
    spec = ListenerSpec("127.0.0.1:1", "files", [CertificateSpec([], str(served[0]), str(served[1]))], ask_client=True)
    server = Certificates(spec, known).base
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname, caller.verify_mode = False, ssl.CERT_NONE
    caller.load_cert_chain(*files)
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [caller.wrap_bio(inward, outward), server.wrap_bio(outward, inward, server_side=True)]
    try:
        for _ in range(8):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        return bool(ends[1].getpeercert(binary_form=True))
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("ca", [False, True])
def test_each_is_taken_and_no_other(tmp_path: Path, ca: bool) -> None:
    mine, theirs, stranger = Own("a", ca=ca), Own("b", ca=ca), Own("c", ca=ca)
    known = anchors([client(1, mine), client(2, theirs)], [])
    assert known == [mine.pem, theirs.pem]
    for one, expected in ((mine, True), (theirs, True), (stranger, False)):
        assert takes(tmp_path, known, one.files(tmp_path)) is expected


def test_a_disabled_client_s_is_none() -> None:
    one, other = Own("a"), Own("b")
    assert anchors([client(1, one, disabled=5), client(2, other)], []) == [other.pem]


def test_the_same_one_of_two_clients_stands_once() -> None:
    one = Own("a")
    assert anchors([client(1, one), client(2, one)], []) == [one.pem]


def test_two_of_one_name_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    """A certificate that follows another has its name; so has what people call `client`."""
    first, second = Own("client"), Own("client")
    known = anchors([client(1, first, second)], [])
    assert known == [first.pem, second.pem]
    assert takes(tmp_path, known, first.files(tmp_path))
    assert takes(tmp_path, known, second.files(tmp_path))


@pytest.mark.parametrize("marks", [(False, False), (True, False), (False, True)])
def test_of_two_that_cannot_be_told_apart_the_older_stays(tmp_path: Path, marks: tuple[bool, bool]) -> None:
    older, younger = Own("client", mark=marks[0]), Own("client", mark=marks[1])
    known = anchors([client(1, older), client(2, younger)], [])
    assert known == [older.pem]
    assert takes(tmp_path, known, older.files(tmp_path))


def test_nobody_is_shut_out_by_a_copy_of_his_name_and_key_identifier(tmp_path: Path) -> None:
    """Whoever may register a client reads his victim's certificate and makes one that looks like it."""
    victim = Own("victim")
    copy = Own("victim", mark=victim._digest())
    known = anchors([client(1, victim), client(2, copy)], [])
    assert known == [victim.pem]
    assert takes(tmp_path, known, victim.files(tmp_path))
    assert not takes(tmp_path, [copy.pem, victim.pem], victim.files(tmp_path)), "this is what it would do"


def test_no_client_s_name_is_that_of_an_authority(tmp_path: Path) -> None:
    partners = Authority("partners")
    certificate = x509.load_pem_x509_certificate(partners.pem)
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for mark in (False, True, identifier):
        assert anchors([client(1, Own("partners", mark=mark))], [bundle(partners)]) == []
    assert anchors([client(1, Own("other"))], [bundle(partners)]) != []


def test_what_cannot_be_read_is_left_out() -> None:
    good = Own("a")
    broken = Client(client_id="x", client_name="x", principal="p", created=0, certificates=("nonsense", "\u00e9"))
    assert anchors([broken, client(1, good)], [TrustSpec("t", "nonsense", "san-uri")]) == [good.pem]
