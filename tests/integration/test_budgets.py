"""What callers may cost: connections, handshakes, waiting, failures and bodies, each refused where it ends and
on the record, with everybody else served meanwhile."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.node import Node, eventually, free_port
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
  - {{address: "127.0.0.1:{tls}", tls: auto}}
connections: {{per_worker: 12, per_address: 8, handshakes: 4, idle_timeout: 3s, failures: 5/m}}
defaults: {{body: 1KiB}}
services:
  up: {{upstreams: [{url}]}}
routes:
  - {{match: GET /open/*, service: up, allow: public, limit: none}}
  - {{match: /*, service: up, authenticate: [api_key], allow: call, limit: none}}
roles: {{caller: [call]}}
"""


class Budgeted:
    """A node with little to give."""

    def __init__(self, node: Node, upstream: Upstream, tls: int) -> None:
        self.node = node
        self.upstream = upstream
        self.tls = tls
        self.key = str(node.key("tester", "caller")["key"])

    def connect(self, source: str, port: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self.node.port), 10, source_address=(source, 0))

    def get(self, source: str, path: str, key: str = "") -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source, verify=False), timeout=20) as client:
            return client.get(self.node.url + path, headers={"X-API-Key": key} if key else {})

    def reasons(self, source: str) -> list[str]:
        return [row["reason"] for row in self.node.query("--decision", "deny") if row["source"] == source]

    def room(self, count: int, source: str) -> bool:
        """Whether so many connections are served at once: those of others before are forgotten."""
        socks = [self.connect(source) for _ in range(count)]
        try:
            for sock in socks:
                sock.sendall(b"GET /open/room HTTP/1.1\r\nHost: a\r\n\r\n")
            return all(sock.recv(1000) for sock in socks)
        except ConnectionError:
            return False
        finally:
            for sock in socks:
                sock.close()

    def served(self, source: str) -> bool:
        try:
            return self.get(source, "/open/x").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Budgeted]:
    upstream = Upstream()
    tls = free_port()
    node = Node(tmp_path_factory.mktemp("budgets") / "node", CONFIG.format(url=upstream.url, tls=tls)).start()
    yield Budgeted(node, upstream, tls)
    node.kill()
    upstream.close()


def closed(sock: socket.socket) -> bool:
    """Whether the gateway closed the connection without a word."""
    sock.settimeout(10)
    try:
        return sock.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_connections_of_one_address(budgeted: Budgeted) -> None:
    held = [budgeted.connect("127.0.3.1") for _ in range(8)]
    try:
        with budgeted.connect("127.0.3.1") as one_more:
            assert closed(one_more)
        assert budgeted.served("127.0.3.2")
        assert eventually(lambda: "too-many-connections" in budgeted.reasons("127.0.3.1"))
    finally:
        for sock in held:
            sock.close()
    assert eventually(lambda: budgeted.served("127.0.3.1"))


def test_connections_of_all(budgeted: Budgeted) -> None:
    held = [budgeted.connect(f"127.0.3.{10 + number // 6}") for number in range(12)]
    try:
        with budgeted.connect("127.0.3.20") as one_more:
            assert closed(one_more)
        held.pop().close()
        assert eventually(lambda: budgeted.served("127.0.3.20"))
    finally:
        for sock in held:
            sock.close()
    assert eventually(lambda: budgeted.room(6, "127.0.3.21"))


@pytest.mark.parametrize("used", [False, True], ids=["never used", "used once"])
def test_an_idle_connection_is_closed(budgeted: Budgeted, used: bool) -> None:
    with budgeted.connect("127.0.3.30") as sock:
        sock.settimeout(10)
        if used:
            sock.sendall(b"GET /open/idle HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while b'"connection"' not in got:
                got += sock.recv(65536)
        assert closed(sock)
    assert budgeted.reasons("127.0.3.30") == []


def test_handshakes_in_progress(budgeted: Budgeted) -> None:
    """A silent network holds a quarter of them, all silent ones hold all; whoever is done gives back."""

    def shakes(source: str) -> bool:
        context = ssl.create_default_context(cafile=str(budgeted.node.data / "pki" / "ca.pem"))
        try:
            with (
                budgeted.connect(source, budgeted.tls) as sock,
                context.wrap_socket(sock, server_hostname="localhost"),
            ):
                return True
        except (OSError, ssl.SSLError):
            return False

    assert all(shakes("127.0.3.40") for _ in range(6)), "one after the other there is no limit"
    silent = [budgeted.connect("127.0.3.41", budgeted.tls)]
    try:
        assert eventually(lambda: not shakes("127.0.3.41"))
        assert shakes("127.0.3.40")
        silent += [budgeted.connect(f"127.0.3.{number}", budgeted.tls) for number in (42, 43, 44)]
        assert eventually(lambda: not shakes("127.0.3.40"))
        assert budgeted.served("127.0.3.40"), "calls without TLS are not concerned"
        assert eventually(lambda: "too-many-connections" in budgeted.reasons("127.0.3.40"))
    finally:
        for sock in silent:
            sock.close()
    assert eventually(lambda: shakes("127.0.3.41"))


def test_failures_of_one_address(budgeted: Budgeted) -> None:
    """They are answered 429 in the end; a valid key from the same address, and everybody else, are not."""
    bad = budgeted.key[:-10] + "AAAAAAAAAA"
    source = "127.0.3.50"
    answers = [budgeted.get(source, "/guess", bad) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
    wait = int(answers[-1].headers["retry-after"])
    assert 1 <= wait <= 60
    assert "retry-after" not in answers[0].headers
    assert budgeted.get(source, "/honest", budgeted.key).status_code == 200
    assert budgeted.get(source, "/open/x").status_code == 200
    assert budgeted.get(source, "/nothing-shown").status_code == 401
    assert budgeted.get("127.0.3.51", "/elsewhere", bad).status_code == 401
    rows = [row for row in budgeted.node.query("--decision", "deny") if row["resource"] == "/guess"]
    assert sorted(row["reason"] for row in rows) == ["key-unknown"] * 5 + ["too-many-failures"] * 3
    assert {row["note"] for row in rows if row["reason"] == "too-many-failures"} == {"key-unknown"}


def test_a_body_that_is_too_large(budgeted: Budgeted) -> None:
    """Announced, it is refused at once; coming in chunks, it is broken off, and nobody takes it for whole."""
    for size, status in ((1024, 200), (1025, 413)):
        path = f"/sized/{size}"
        answer = budgeted.node.request("POST", path, budgeted.key, content=b"x" * size)
        assert answer.status_code == status
        path = f"/chunked-body/{size}"
        pieces = (b"x" * piece for piece in (1000, size - 1000))
        answer = budgeted.node.request("POST", path, budgeted.key, content=pieces)
        assert answer.status_code == status
    assert budgeted.node.row("/sized/1025")["reason"] == "body-too-large"
    assert budgeted.node.row("/chunked-body/1025")["reason"] == "body-too-large"
    bodies = {seen.target: len(seen.body) for seen in budgeted.upstream.seen if seen.method == "POST"}
    assert bodies == {"/sized/1024": 1024, "/chunked-body/1024": 1024}
    assert budgeted.node.get("/after", budgeted.key).json()["target"] == "/after"
