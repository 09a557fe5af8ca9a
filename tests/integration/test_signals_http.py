"""How signals are sent, over real sockets: nowhere else than asked, not for ever, and to nobody unvouched for."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from interlock.control.signals.http import Http, Silence
from interlock.errors import NodeError
from tests.integration.certificates import Authority

pytestmark = pytest.mark.integration

Answer = Callable[[BaseHTTPRequestHandler], None]


class Receiver:
    """Answers as it is told to, and counts who asks."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []
        self.answer: Answer = lambda handler: handler.send_error(500)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                receiver.seen.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
                try:
                    receiver.answer(self)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def says(status: int, body: bytes = b"", **fields: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **fields}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_what_is_sent_and_what_comes_back(receiver: Receiver) -> None:
    receiver.answer = says(202)
    http = Http(None, 5, 1000)
    assert http.post(receiver.url, b"token", {"content-type": "application/secevent+jwt"}) == (202, b"")
    receiver.answer = says(400, b'{"err": "x"}')
    assert http.post(receiver.url, b"token", {}) == (400, b'{"err": "x"}')
    (path, body, headers), _ = receiver.seen
    assert (path, body) == ("/events", b"token")
    assert headers["content-type"] == "application/secevent+jwt"
    http.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_followed_elsewhere(receiver: Receiver, status: int) -> None:
    """A receiver could else have us call whatever this machine reaches."""
    receiver.answer = says(status, location=receiver.url + "/inside")
    assert Http(None, 5, 1000).post(receiver.url, b"token", {})[0] == status
    assert [path for path, _, _ in receiver.seen] == ["/events"]


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    receiver.answer = says(202)
    assert Http(None, 5, 1000).post(receiver.url, b"token", {})[0] == 202


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.answer = says(200, b"x" * 100_000)
    with pytest.raises(NodeError, match="too long"):
        Http(None, 5, 1000).post(receiver.url, b"token", {})


def test_one_that_trickles_is_not_waited_for(receiver: Receiver) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    receiver.answer = trickle
    with pytest.raises(Silence):
        Http(None, 1, 10_000).post(receiver.url, b"token", {})


def test_nobody_there_is_an_error_that_says_so() -> None:
    with pytest.raises(NodeError):
        Http(None, 2, 1000).post("http://127.0.0.1:1/", b"token", {})


def test_who_nobody_vouches_for_gets_nothing(receiver: Receiver, tmp_path: Path) -> None:
    authority = Authority("receivers")
    certificate, key = authority.issue(tmp_path, dns="localhost", server=True)
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    receiver.answer = says(202)
    url = receiver.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(NodeError):
        Http(None, 5, 1000).post(url, b"token", {})
    assert receiver.seen == []
    assert Http(trusted, 5, 1000).post(url, b"token", {})[0] == 202
    with pytest.raises(NodeError):
        Http(trusted, 5, 1000).post(url.replace("localhost", "127.0.0.1"), b"token", {})
