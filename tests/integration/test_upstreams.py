"""Systems behind that are slow, gone, wrong or half dead, and callers that leave: each leaves its outcome on
the record, and whoever calls next on the same pool gets the answer to his own question."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.certificates import Authority
from tests.integration.node import PLAIN, Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
services:
  plain: {{upstreams: [{plain}], timeout: 20s}}
  twins: {{upstreams: [{plain}, {twin}]}}
  secure: {{upstreams: [{secure}], tls: {{ca: up.pem}}}}
  named: {{upstreams: ["{by_address}"], tls: {{ca: up.pem}}}}
  wrong: {{upstreams: [{secure}], tls: {{ca: wrong.pem}}}}
  shown: {{upstreams: [{mutual}], tls: {{ca: up.pem, certificate: {certificate}, key: {key}}}}}
  hidden: {{upstreams: [{mutual}], tls: {{ca: up.pem}}}}
  mute: {{upstreams: ["https://127.0.0.1:{mute}"], tls: {{ca: up.pem}}, connect_timeout: 500ms}}
  nobody: {{upstreams: ["http://127.0.0.1:{nobody}"]}}
  hasty: {{upstreams: [{plain}], timeout: 1s}}
  narrow: {{upstreams: [{plain}], pool: 1, connect_timeout: 500ms}}
routes:
{routes}
roles: {{caller: [call]}}
"""
SERVICES = ["plain", "twins", "secure", "named", "wrong", "shown", "hidden", "mute", "nobody", "hasty", "narrow"]


class Systems:
    """A node and everything behind it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        authority, stranger = Authority("upstreams"), Authority("stranger")
        (folder / "up.pem").write_bytes(authority.pem)
        (folder / "wrong.pem").write_bytes(stranger.pem)
        served = authority.issue(folder, dns="localhost", server=True)
        self.client = authority.issue(folder, name="the gateway")
        self.plain, self.twin = Upstream(), Upstream()
        self.secure = Upstream(tls=server_context(served))
        self.mutual = Upstream(tls=server_context(served, folder / "up.pem"))
        self.mute = socket.create_server(("127.0.0.1", 0), backlog=16)  # takes connections, says nothing
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            nobody = closed.getsockname()[1]
        routes = "\n".join(
            f'  - {{match: "{name}.test /*", service: {name}, authenticate: [api_key], allow: call, limit: none}}'
            for name in SERVICES
        )
        self.node = Node(
            folder,
            CONFIG.format(
                plain=self.plain.url,
                twin=self.twin.url,
                secure=self.secure.url,
                by_address=f"https://127.0.0.1:{self.secure.port}",
                mutual=self.mutual.url,
                certificate=self.client[0],
                key=self.client[1],
                mute=self.mute.getsockname()[1],
                nobody=nobody,
                routes=routes,
            ),
        ).start()
        self.key = str(self.node.key("tester", "caller")["key"])

    def close(self) -> None:
        self.node.kill()
        self.mute.close()
        for upstream in (self.plain, self.twin, self.secure, self.mutual):
            upstream.close()

    def call(self, service: str, path: str, method: str = "GET", **options: object) -> httpx.Response:
        return self.node.request(method, path, self.key, headers={"Host": f"{service}.test"}, **options)

    def head(self, path: str, *fields: str, method: str = "GET", service: str = "plain") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {service}.test", f"X-API-Key: {self.key}", *fields, "", ""]
        return "\r\n".join(lines).encode()

    def outcome(self, path: str) -> tuple[int | None, str]:
        row = self.node.row(path)
        assert (row["decision"], row["outcome"]) == ("allow", "done")
        return row["status"], row["reason"]

    def others_are_unhurt(self, service: str = "plain", calls: int = 3) -> None:
        """Whoever calls next gets the answer to his own question."""
        with httpx.Client(base_url=self.node.url, **PLAIN) as client:
            for number in range(calls):
                path = f"/own/{time.monotonic_ns()}-{number}"
                answer = client.get(path, headers={"X-API-Key": self.key, "Host": f"{service}.test"})
                assert answer.status_code == 200
                assert answer.json()["target"] == path


def server_context(files: tuple[Path, Path], clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systems]:
    made = Systems(tmp_path_factory.mktemp("upstreams") / "node")
    yield made
    made.close()


# -- TLS towards the system behind


def test_a_verified_system(systems: Systems) -> None:
    answer = systems.call("secure", "/tls/verified")
    assert answer.json()["target"] == "/tls/verified"
    assert systems.outcome("/tls/verified") == (200, "")
    assert systems.secure.seen[-1].header("host") == f"localhost:{systems.secure.port}"
    systems.others_are_unhurt("secure")


@pytest.mark.parametrize(("service", "what"), [("wrong", "another authority"), ("named", "another name")])
def test_a_system_that_is_not_whom_it_should_be(systems: Systems, service: str, what: str) -> None:
    path = f"/tls/{service}"
    assert systems.call(service, path).status_code == 502, what
    assert systems.outcome(path) == (502, "upstream-unreachable")
    assert "certificate refused" in systems.node.row(path)["note"]
    assert path not in [seen.target for seen in systems.secure.seen]
    systems.others_are_unhurt("secure")


def test_our_certificate_is_shown_where_configured(systems: Systems) -> None:
    assert systems.call("shown", "/tls/shown").status_code == 200
    assert systems.mutual.seen[-1].certificate == ssl.PEM_cert_to_DER_cert(systems.client[0].read_text())
    answer = systems.call("hidden", "/tls/hidden")
    assert answer.status_code == 502
    assert systems.outcome("/tls/hidden")[0] == 502
    assert "/tls/hidden" not in [seen.target for seen in systems.mutual.seen]
    systems.others_are_unhurt("shown")


# -- time and room


def test_no_connection_in_time(systems: Systems) -> None:
    started = time.monotonic()
    assert systems.call("mute", "/late/mute").status_code == 504
    assert time.monotonic() - started < 10
    assert systems.outcome("/late/mute") == (504, "upstream-timeout")
    systems.others_are_unhurt()


def test_nobody_listens(systems: Systems) -> None:
    assert systems.call("nobody", "/late/nobody").status_code == 502
    assert systems.outcome("/late/nobody") == (502, "upstream-unreachable")
    systems.others_are_unhurt()


def test_no_answer_in_time(systems: Systems) -> None:
    assert systems.call("hasty", "/sleep").status_code == 504
    assert systems.outcome("/sleep") == (504, "upstream-timeout")
    systems.others_are_unhurt("hasty")


def test_no_connection_free_in_time(systems: Systems) -> None:
    slow: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: slow.append(systems.call("narrow", "/slow/first")))
    caller.start()
    assert eventually(lambda: [seen for seen in systems.plain.seen if seen.target == "/slow/first"])
    answer = systems.call("narrow", "/busy")
    caller.join()
    assert answer.status_code == 503
    assert systems.outcome("/busy") == (503, "upstream-busy")
    assert slow[0].json()["target"] == "/slow/first"
    assert "/busy" not in [seen.target for seen in systems.plain.seen]
    systems.others_are_unhurt("narrow")


def test_several_systems_in_turn(systems: Systems) -> None:
    paths = [f"/turn/{number}" for number in range(10)]
    for path in paths:
        assert systems.call("twins", path).json()["target"] == path
    shares = [
        [seen.target for seen in upstream.seen if seen.target in paths] for upstream in (systems.plain, systems.twin)
    ]
    assert [len(share) for share in shares] == [5, 5]
    assert systems.node.row(paths[0])["upstream"] != systems.node.row(paths[1])["upstream"]


# -- answers and requests that break off


def test_an_answer_before_the_request_was_sent(systems: Systems) -> None:
    """It is passed on, and its connection, on which the rest of the body would be a request, is not reused."""
    for size in ("1000", "1000000"):
        path = f"/answer-first/{size}"
        with systems.node.connect() as sock:
            sock.settimeout(10)
            sock.sendall(systems.head(path, f"Content-Length: {size}", method="POST") + b"G")
            got = sock.recv(65536)
            assert got.startswith(b"HTTP/1.1 200")
            smuggled = b"GET /smuggled HTTP/1.1\r\nHost: plain.test\r\n\r\n"
            try:
                sock.sendall(smuggled * 20)
                assert sock.recv(65536) == b"", "closed, and nothing of it answered"
            except OSError:
                pass
        assert systems.outcome(path) == (200, "")
        systems.others_are_unhurt()
    assert not [seen for seen in systems.plain.seen if "smuggled" in seen.target]


def test_a_system_that_dies_during_the_request_body(systems: Systems) -> None:
    pieces = (b"x" * 65536 for _ in range(100))
    answer = systems.call("plain", "/die-in-body", "POST", content=pieces)
    assert answer.status_code == 502
    assert systems.outcome("/die-in-body") == (502, "upstream-unreachable")
    systems.others_are_unhurt()


@pytest.mark.parametrize("path", ["/cut-chunked", "/cut-in-chunk"])
def test_a_chunked_answer_cut_short_cannot_be_taken_for_whole(systems: Systems, path: str) -> None:
    with systems.node.connect() as sock:
        sock.settimeout(10)
        sock.sendall(systems.head(path))
        got = b""
        try:
            while piece := sock.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
    assert b"0\r\n\r\n" not in got
    assert systems.outcome(path) == (200, "upstream-aborted")
    systems.others_are_unhurt()


# -- callers that leave


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_caller_that_leaves_in_the_middle_of_an_answer(systems: Systems, how: str) -> None:
    size = 50_000_000 if how == "closed" else 50_000_001
    path = f"/bytes/{size}"
    sock = systems.node.connect()
    sock.settimeout(10)
    sock.sendall(systems.head(path))
    assert len(sock.recv(65536)) > 0
    leave(sock, how)
    assert systems.outcome(path) == (200, "client-gone")
    assert systems.node.row(path)["bytes_out"] < size
    systems.others_are_unhurt()


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_caller_that_leaves_in_the_middle_of_its_body(systems: Systems, how: str) -> None:
    path = f"/left/{how}"
    sock = systems.node.connect()
    sock.sendall(systems.head(path, "Content-Length: 1000", method="POST") + b"half")
    time.sleep(0.2)
    leave(sock, how)
    assert systems.outcome(path) == (499, "client-gone")
    assert path not in [seen.target for seen in systems.plain.seen], "half a request was taken for whole"
    systems.others_are_unhurt()


def test_a_caller_that_resets_while_it_waits(systems: Systems) -> None:
    sock = systems.node.connect()
    sock.sendall(systems.head("/slow/reset"))
    assert eventually(lambda: [seen for seen in systems.plain.seen if seen.target == "/slow/reset"])
    leave(sock, "reset")
    assert systems.outcome("/slow/reset") == (499, "client-gone")
    systems.others_are_unhurt()


def leave(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_afterwards_every_call_has_an_outcome(systems: Systems) -> None:
    """The last test of this file: nothing was left open, and the record is sound."""
    assert systems.node.stop() == 0
    assert [row for row in systems.node.query("--limit", "10000") if row["outcome"] != "done"] == []
    assert systems.node.verify()["ok"]
