"""TLS and client certificates, with the real `ssl` on the other side."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.certificates import Authority
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto}}
services:
  upstream: {{upstreams: [{url}]}}
trust:
  partners: {{ca: partners.pem, principal: san-uri}}
  others: {{ca: others.pem, principal: san-dns}}
routes:
  - {{match: GET /open/*, service: upstream, allow: public, limit: none}}
  - {{match: GET /partners/*, service: upstream, authenticate: [mtls], trust: partners, allow: call, limit: none}}
  - {{match: GET /others/*, service: upstream, authenticate: [mtls], trust: others, allow: call, limit: none}}
roles:
  caller: [call]
"""


@pytest.fixture(scope="module")
def authorities() -> dict[str, Authority]:
    return {name: Authority(name) for name in ("partners", "others", "stranger")}


@pytest.fixture(scope="module")
def tls_node(authorities: dict[str, Authority], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("tls") / "node"
    folder.mkdir()
    for name in ("partners", "others"):
        (folder / f"{name}.pem").write_bytes(authorities[name].pem)
    upstream = Upstream()
    config = CONFIG.format(url=upstream.url).replace(
        "principal: san-uri}", "principal: san-uri, roles: {spiffe://partners/billing: caller}}"
    )
    config = config.replace("principal: san-dns}", "principal: san-dns, roles: {box.example: caller}}")
    node = Node(folder, config).start()
    yield node
    node.kill()
    upstream.close()


class Caller:
    """One TLS client of the node, trusting its local CA, that resumes its session from call to call."""

    def __init__(
        self,
        node: Node,
        files: tuple[Path, Path] | None = None,
        *,
        trusting: Path | None = None,
        server_name: str = "localhost",
    ) -> None:
        self.node = node
        self.server_name = server_name
        self.context = ssl.create_default_context(cafile=str(trusting or node.data / "pki" / "ca.pem"))
        if files:
            self.context.load_cert_chain(*files)
        self.session: ssl.SSLSession | None = None

    def get(self, path: str, host: str = "localhost", *, close: bool = True) -> int:
        """The status; 0 if the connection was closed without one.

        Without `close` the gateway is not asked to close the connection; `closed` tells whether it did.
        """
        with (
            socket.create_connection(("127.0.0.1", self.node.port), timeout=10) as sock,
            self.context.wrap_socket(sock, server_hostname=self.server_name, session=self.session) as tls,
        ):
            connection = "Connection: close\r\n" if close else ""
            self.certificate = tls.getpeercert(binary_form=True)
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{connection}\r\n".encode())
            got = b""
            self.closed = False
            tls.settimeout(10 if close else 1)
            try:
                while piece := tls.recv(65536):
                    got += piece
                self.closed = True
            except TimeoutError:
                pass
            self.session = tls.session
            self.resumed = tls.session_reused
        return int(got.split(b" ", 2)[1]) if got else 0


def test_the_local_authority_serves(tls_node: Node) -> None:
    assert Caller(tls_node).get("/open/x") == 200
    caller = Caller(tls_node)
    caller.context.minimum_version = ssl.TLSVersion.TLSv1_2
    caller.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert caller.get("/open/x") == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_old_versions_are_refused(tls_node: Node, version: ssl.TLSVersion, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        assert speaks(context, tmp_path), "it cannot even talk to itself"
    except (ssl.SSLError, ValueError, AssertionError) as problem:
        pytest.skip(f"platform: OpenSSL here does not offer TLS 1.{version.value - 0x301}: {problem}")
    before = len(refused(tls_node, "tls-handshake"))
    with (
        socket.create_connection(("127.0.0.1", tls_node.port), timeout=10) as sock,
        pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"),
        context.wrap_socket(sock),
    ):
        pass
    assert eventually(lambda: len(refused(tls_node, "tls-handshake")) > before)
    assert any(call["note"] == "UNSUPPORTED_PROTOCOL" for call in refused(tls_node, "tls-handshake"))
    assert Caller(tls_node).get("/open/x") == 200


def speaks(context: ssl.SSLContext, folder: Path) -> bool:
    """Whether the client can do a handshake with a server that is as lenient."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*Authority("lenient").issue(folder, dns="localhost", server=True))
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.minimum_version = ssl.TLSVersion.TLSv1
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        context.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    return not ends


def test_each_route_verifies_against_its_own_bundle(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path
) -> None:
    partner = authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing")
    other = authorities["others"].issue(tmp_path, dns="box.example")
    assert Caller(tls_node, partner).get("/partners/x") == 200
    assert Caller(tls_node, partner).get("/others/x") == 401
    assert Caller(tls_node, other).get("/others/x") == 200
    assert Caller(tls_node, other).get("/partners/x") == 401
    assert Caller(tls_node).get("/partners/x") == 401
    reasons = {call["reason"] for call in tls_node.query("--decision", "deny")}
    assert {"certificate-untrusted", "credential-missing"} <= reasons


def test_a_resumed_session_carries_its_certificate_where_it_was_verified(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path
) -> None:
    partner = Caller(tls_node, authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing"))
    assert partner.get("/partners/x") == 200
    assert not partner.resumed
    assert partner.get("/partners/x") == 200
    assert partner.resumed
    assert partner.get("/open/x") == 200
    assert partner.resumed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_resumed_session_is_refused_and_closed_where_its_certificate_was_not_verified(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path, version: ssl.TLSVersion
) -> None:
    partner = Caller(tls_node, authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing"))
    partner.context.maximum_version = version
    assert partner.get("/open/x") == 200  # no route of this bundle has seen the certificate
    path = f"/partners/unverified-{version.name}"
    assert partner.get(path, close=False) == 401
    assert partner.resumed
    assert partner.closed, "the connection stays open"
    assert tls_node.row(path)["reason"] == "certificate-unverified"
    # of another bundle, that it was verified against one says nothing
    partner.session = None
    assert partner.get("/partners/x") == 200
    assert partner.get(f"/others/unverified-{version.name}", close=False) == 401
    assert partner.resumed
    assert tls_node.row(f"/others/unverified-{version.name}")["reason"] == "certificate-unverified"
    # a full handshake proves possession again
    partner.session = None
    assert partner.get("/partners/x") == 200


def test_no_session_outlives_its_worker(tls_node: Node, authorities: dict[str, Authority], tmp_path: Path) -> None:
    """The new worker has verified nothing: it does not resume what the old one began, or refuses it."""
    partner = Caller(tls_node, authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing"))
    assert partner.get("/partners/x") == 200
    assert partner.get("/partners/x") == 200
    assert partner.resumed
    before = tls_node.pids("worker")[0]
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: (now := tls_node.pids("worker")) and before not in now)
    tls_node.cli("status", "--wait", "10")
    status = partner.get("/partners/after", close=False)
    if partner.resumed:
        assert status == 401
        assert partner.closed
        assert tls_node.row("/partners/after")["reason"] == "certificate-unverified"
    else:
        assert status == 200
    partner.session = None
    assert partner.get("/partners/x") == 200


def test_a_certificate_of_a_stranger_is_refused_and_recorded(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path
) -> None:
    before = len(refused(tls_node, "tls-certificate"))
    stranger = Caller(tls_node, authorities["stranger"].issue(tmp_path, uri="spiffe://partners/billing"))
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        stranger.get("/partners/x")
    stranger.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        stranger.get("/partners/x")
    assert eventually(lambda: len(refused(tls_node, "tls-certificate")) > before)


def refused(node: Node, reason: str) -> list[dict[str, Any]]:
    return [call for call in node.query("--decision", "deny", "--limit", "10000") if call["reason"] == reason]


def test_expired_certificates_are_refused(tls_node: Node, authorities: dict[str, Authority], tmp_path: Path) -> None:
    before = len(refused(tls_node, "tls-certificate"))
    files = authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing", days=-1)
    with pytest.raises(ssl.SSLError, match="ALERT_CERTIFICATE_EXPIRED"):
        Caller(tls_node, files).get("/partners/expired")
    assert eventually(lambda: len(refused(tls_node, "tls-certificate")) > before)
    assert any("expired" in call["note"] for call in refused(tls_node, "tls-certificate"))


@pytest.mark.parametrize(
    ("said", "answer", "note"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n", "HTTP_REQUEST"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x15\x03", "LENGTH_TOO_SHORT"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"", "WRONG_VERSION_NUMBER"),
    ],
    ids=["plain HTTP", "a broken hello", "another protocol"],
)
def test_garbage_instead_of_a_handshake(tls_node: Node, said: bytes, answer: bytes, note: str) -> None:
    """It is told so: in plain HTTP who spoke that, by an alert (RFC 8446 section 6.2) who spoke TLS."""
    with socket.create_connection(("127.0.0.1", tls_node.port), timeout=5) as sock:
        sock.sendall(said)
        got = b""
        try:
            while piece := sock.recv(1000):
                got += piece
        except ConnectionResetError:
            pass
    assert got[: len(answer) or None] == answer
    assert eventually(lambda: any(call["note"] == note for call in refused(tls_node, "tls-handshake")))
    assert Caller(tls_node).get("/open/x") == 200


def test_who_does_not_finish_its_handshake_is_given_up(tls_node: Node) -> None:
    before = len(refused(tls_node, "tls-timeout"))
    said = [b"", b"\x16\x03\x01\x02\x00\x01"]  # nothing, and the beginning of a ClientHello
    waiting = [socket.create_connection(("127.0.0.1", tls_node.port), timeout=30) for _ in said]
    for sock, words in zip(waiting, said, strict=True):
        sock.sendall(words)
    assert Caller(tls_node).get("/open/x") == 200
    for sock in waiting:
        with sock:
            try:
                assert sock.recv(1000) == b""
            except ConnectionResetError:
                pass
    assert eventually(lambda: len(refused(tls_node, "tls-timeout")) == before + len(said))
    assert Caller(tls_node).get("/open/x") == 200


def test_each_host_gets_its_certificate_and_no_other_hosts_calls(tmp_path: Path) -> None:
    """Two certificates from files on one listener, chosen by SNI; Host must belong to the one that was shown."""
    folder = tmp_path / "node"
    folder.mkdir()
    authority = Authority("servers")
    (folder / "ca.pem").write_bytes(authority.pem)
    pairs = {name: authority.issue(folder, dns=name, server=True) for name in ("one.example", "two.example")}
    one, two = pairs["one.example"], pairs["two.example"]
    upstream = Upstream()
    node = Node(
        folder,
        f"""
version: 1
workers: 1
listeners:
  - address: 127.0.0.1:PORT
    tls: {{certificate: {one[0]}, key: {one[1]}}}
    hosts: [one.example]
    certificates: [{{hosts: [two.example], certificate: {two[0]}, key: {two[1]}}}]
services: {{up: {{upstreams: [{upstream.url}]}}}}
routes:
  - {{match: "one.example /*", service: up, allow: public, limit: none}}
  - {{match: "two.example /*", service: up, allow: public, limit: none}}
""",
    )
    try:
        node.start()
        for name, other in (("one.example", "two.example"), ("two.example", "one.example")):
            caller = Caller(node, trusting=folder / "ca.pem", server_name=name)
            assert caller.get(f"/own/{name}", name) == 200
            assert caller.certificate == ssl.PEM_cert_to_DER_cert(pairs[name][0].read_text())
            assert caller.get(f"/misdirected/{name}", other) == 421
            assert node.row(f"/misdirected/{name}")["reason"] == "misdirected"
            assert caller.get(f"/again/{name}", name.upper()) == 200
        assert not [seen for seen in upstream.seen if seen.target.startswith("/misdirected")]
        assert node.stop() == 0
        assert node.verify()["ok"]
    finally:
        node.kill()
        upstream.close()
