"""TLS and client certificates, with the real `ssl` and `openssl s_client` on the other side."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture
def authorities(tmp_path: Path) -> dict[str, Authority]:
    return {name: Authority(name) for name in ("partners", "others", "stranger")}


@pytest.fixture
def tls_node(
    make_node: Callable[..., Node], upstream: Upstream, authorities: dict[str, Authority], tmp_path: Path
) -> Node:
    folder = tmp_path / "node"
    folder.mkdir()
    for name in ("partners", "others"):
        (folder / f"{name}.pem").write_bytes(authorities[name].pem)
    config = CONFIG.format(url=upstream.url).replace(
        "principal: san-uri}", "principal: san-uri, roles: {spiffe://partners/billing: caller}}"
    )
    config = config.replace("principal: san-dns}", "principal: san-dns, roles: {box.example: caller}}")
    return make_node(config).start()


class Caller:
    """One TLS client of the node, trusting its local CA."""

    def __init__(self, node: Node, files: tuple[Path, Path] | None = None) -> None:
        self.node = node
        self.context = ssl.create_default_context(cafile=str(node.data / "pki" / "ca.pem"))
        if files:
            self.context.load_cert_chain(*files)
        self.session: ssl.SSLSession | None = None

    def get(self, path: str, host: str = "localhost") -> int:
        """The status; 0 if the connection was closed without one."""
        with (
            socket.create_connection(("127.0.0.1", self.node.port), timeout=10) as sock,
            self.context.wrap_socket(sock, server_hostname="localhost", session=self.session) as tls,
        ):
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            got = b""
            while piece := tls.recv(65536):
                got += piece
            self.session = tls.session
            self.resumed = tls.session_reused
        return int(got.split(b" ", 2)[1]) if got else 0

    def tries(self, path: str) -> int:
        """The same; 0 also when the handshake is refused."""
        try:
            return self.get(path)
        except (ssl.SSLError, ConnectionError):
            return 0


def test_the_local_authority_serves_and_old_versions_do_not(tls_node: Node) -> None:
    assert Caller(tls_node).get("/open/x") == 200
    caller = Caller(tls_node)
    caller.context.minimum_version = ssl.TLSVersion.TLSv1_2
    caller.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert caller.get("/open/x") == 200
    if shutil.which("openssl"):
        old = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{tls_node.port}", "-tls1_1"],
            input=b"",
            capture_output=True,
            timeout=20,
        )
        assert b"Cipher is (NONE)" in old.stdout or old.returncode != 0


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


def test_a_resumed_session_carries_its_certificate_only_where_it_was_verified(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path
) -> None:
    partner = Caller(tls_node, authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing"))
    assert partner.get("/partners/x") == 200
    assert partner.get("/partners/x") == 200
    assert partner.get("/others/x") in (0, 401)
    assert partner.get("/open/x") == 200


def test_a_certificate_of_a_stranger_is_refused_and_recorded(
    tls_node: Node, authorities: dict[str, Authority], tmp_path: Path
) -> None:
    stranger = Caller(tls_node, authorities["stranger"].issue(tmp_path, uri="spiffe://partners/billing"))
    assert stranger.tries("/partners/x") == 0
    assert eventually(
        lambda: [call for call in tls_node.query("--decision", "deny") if call["reason"] == "tls-certificate"]
    )


def test_expired_certificates_are_refused(tls_node: Node, authorities: dict[str, Authority], tmp_path: Path) -> None:
    files = authorities["partners"].issue(tmp_path, uri="spiffe://partners/billing", days=-1)
    assert Caller(tls_node, files).tries("/partners/x") in (0, 401)


def test_garbage_and_silence_instead_of_a_handshake(tls_node: Node) -> None:
    with socket.create_connection(("127.0.0.1", tls_node.port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.settimeout(5)
        try:
            assert b"HTTP/1.1 200" not in sock.recv(1000)
        except ConnectionResetError:
            pass
    assert eventually(
        lambda: [call for call in tls_node.query("--decision", "deny") if call["reason"] == "tls-handshake"]
    )
    assert Caller(tls_node).get("/open/x") == 200
