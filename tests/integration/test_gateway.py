"""The gateway's main job on real input: what passes, how it is changed, and what is refused."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.conftest import CONFIG
from tests.integration.node import PLAIN, Node, eventually
from tests.integration.upstream import Upstream

pytestmark = [pytest.mark.integration, pytest.mark.shared]


def test_a_call_passes_and_is_on_the_record(node: Node, key: str, upstream: Upstream) -> None:
    answer = node.get("/things/7?q=1", key)
    assert answer.status_code == 200
    assert upstream.targets() == ["GET /things/7?q=1"]
    calls = eventually(lambda: [call for call in node.query() if call["resource"] == "/things/7" and call["status"]])
    assert len(calls) == 1
    call = calls[0]
    assert call["principal"] == "service:interlock/tester"
    assert call["methods"] == ["api_key"]
    assert (call["action"], call["decision"], call["status"]) == ("GET", "allow", 200)
    assert call["source"] == "127.0.0.1"
    assert call["duration_ms"] > 0
    assert len(call["trace_id"]) == 32


def test_without_a_credential_nothing_is_forwarded(node: Node, upstream: Upstream) -> None:
    answer = node.get("/things")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"]
    assert upstream.seen == []
    denied = [call for call in node.query("--decision", "deny") if call["resource"] == "/things"]
    assert [call["reason"] for call in denied] == ["credential-missing"]
    assert denied[0]["id"] in answer.json()["instance"]


def test_credentials_and_internals_are_not_forwarded(node: Node, key: str, upstream: Upstream) -> None:
    headers = {
        "Interlock-Identity": "forged",
        "INTERLOCK_IDENTITY": "forged",
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X_Under": "1",
        "TE": "trailers",
        "Cookie": "a=b",
    }
    assert node.get("/h", key, headers=headers).status_code == 200
    seen = upstream.seen[0]
    names = {name for name, _ in seen.headers}
    assert "x-api-key" not in names
    assert "x_under" not in names
    assert "interlock_identity" not in names
    assert "te" not in names
    assert seen.header("cookie") == "a=b"
    assert seen.header("x-forwarded-for") == "127.0.0.1"
    assert "6.6.6.6" not in (seen.header("forwarded") or "")
    assertion = seen.header("interlock-identity")
    assert assertion is not None
    payload = assertion.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["sub"] == "service:interlock/tester"
    assert claims["aud"] == "upstream"


def test_answers_do_not_reveal_the_stack(node: Node, key: str, upstream: Upstream) -> None:
    answer = node.get("/revealing", key)
    assert answer.status_code == 200
    assert upstream.targets() == ["GET /revealing"]
    assert {"server", "x-powered-by", "x-runtime"}.isdisjoint(answer.headers), answer.headers
    raw = node.raw(b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"server:" not in raw.lower()
    refused = node.get("/x")
    assert {"server", "x-powered-by", "via"}.isdisjoint(refused.headers)


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(node: Node, key: str, upstream: Upstream, size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    pieces = (body[at : at + 10_000] for at in range(0, len(body), 10_000))
    answer = node.request("POST", "/echo", key, content=pieces if chunked else body)
    assert answer.status_code == 200
    assert base64.b64decode(answer.json()["body"]) == body


@pytest.mark.parametrize("path", ["/bytes/0", "/bytes/5", "/bytes/5000000", "/chunked/0", "/chunked/500"])
def test_answers_arrive_whole(node: Node, key: str, path: str) -> None:
    answer = node.get(path, key)
    assert answer.status_code == 200
    count = int(path.rsplit("/", 1)[1])
    expected = b"x" * count if "bytes" in path else b"".join(b"chunk %d\n" % n for n in range(count))
    assert answer.content == expected


def test_an_answer_that_ends_with_the_connection(node: Node, key: str) -> None:
    assert node.get("/until-close", key).content == b"until the end"


def test_head_204_and_304_have_no_body_and_keep_the_connection(node: Node, key: str) -> None:
    with httpx.Client(base_url=node.url, headers={"X-API-Key": key}, **PLAIN) as client:
        assert client.head("/bytes/50").content == b""
        assert client.get("/status/204").content == b""
        assert client.get("/status/304").content == b""
        assert client.get("/chunked/2").content == b"chunk 0\nchunk 1\n"


def test_pipelined_requests_are_answered_in_order(node: Node, key: str, upstream: Upstream) -> None:
    one = "GET /n/%d HTTP/1.1\r\nHost: a\r\nX-API-Key: " + key + "\r\n\r\n"
    count = 300
    raw = "".join(one % number for number in range(count)).encode()
    raw += f"GET /last HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n".encode()
    got = node.raw(raw, timeout=20)
    assert got.count(b"HTTP/1.1 200") == count + 1
    assert upstream.targets() == [f"GET /n/{n}" for n in range(count)] + ["GET /last"]


def test_a_credential_never_serves_the_next_request(node: Node, key: str, upstream: Upstream) -> None:
    with_key = f"GET /a HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode()
    without = b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    got = node.raw(with_key + without)
    assert got.count(b"HTTP/1.1 200") == 1
    assert got.count(b"HTTP/1.1 401") == 1
    assert upstream.targets() == ["GET /a"]


def test_continue_is_said_only_to_who_may_pass(node: Node, key: str) -> None:
    head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n{}\r\n"
    with node.connect() as sock:
        sock.settimeout(5)
        sock.sendall(head.format(f"X-API-Key: {key}\r\n").encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(b"12345")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    with node.connect() as sock:
        sock.settimeout(5)
        sock.sendall(head.format("").encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/die", 502, "upstream-unreachable"),
        ("/nonsense", 502, "upstream-invalid"),
    ],
)
def test_an_upstream_that_fails(node: Node, key: str, path: str, status: int, reason: str) -> None:
    answer = node.request("POST", path, key)
    assert answer.status_code == status
    assert "upstream" not in answer.text.lower().replace("the service behind", "")
    calls = eventually(lambda: [call for call in node.query() if call["resource"] == path and call["status"]])
    assert calls[0]["reason"] == reason


def test_an_answer_cut_short_is_not_passed_as_whole(node: Node, key: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        node.get("/cut", key)
    calls = eventually(lambda: [call for call in node.query() if call["resource"] == "/cut" and call["reason"]])
    assert calls[0]["reason"] == "upstream-aborted"


@pytest.mark.parametrize("path", ["/extra", "/extra-later"])
def test_bytes_that_nobody_asked_for_reach_nobody(node: Node, key: str, path: str) -> None:
    for _ in range(5):
        assert node.get(path, key).content == b"ok"
        time.sleep(0.1)  # it has arrived, and nobody asked
        assert b"evil" not in node.get("/next", key).content


def test_a_stale_pooled_connection_hurts_nobody(node: Node, key: str, upstream: Upstream) -> None:
    for number in range(5):
        assert node.get(f"/before/{number}", key).status_code == 200
        upstream.close_connections()
        time.sleep(0.02 * number)
        assert node.get(f"/after/{number}", key).status_code == 200
        upstream.close_connections()
        time.sleep(0.02 * number)
        assert node.request("POST", f"/post/{number}", key, content=b"x").status_code == 200
    assert len(upstream.targets()) == len(set(upstream.targets()))


def test_early_hints_pass_and_old_clients_get_none(node: Node, key: str) -> None:
    ask = "GET /early HTTP/{}\r\nHost: a\r\nX-API-Key: " + key + "\r\nConnection: close\r\n\r\n"
    assert node.raw(ask.format("1.1").encode()).startswith(b"HTTP/1.1 103")
    assert node.raw(ask.format("1.0").encode()).startswith(b"HTTP/1.1 200")


def test_a_client_that_vanishes_mid_body_leaves_an_outcome(node: Node, key: str, upstream: Upstream) -> None:
    with node.connect() as sock:
        sock.sendall(f"POST /gone HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Length: 100\r\n\r\nhalf".encode())
        time.sleep(0.3)
    calls = eventually(lambda: [call for call in node.query() if call["resource"] == "/gone" and call["reason"]])
    assert calls[0]["reason"] == "client-gone"
    assert upstream.seen == []
    assert node.get("/still", key).status_code == 200


def test_a_half_closed_client_gets_its_answer(node: Node, key: str) -> None:
    with node.connect() as sock:
        sock.settimeout(5)
        sock.sendall(f"GET /half HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    assert got.startswith(b"HTTP/1.1 200")


def test_a_refused_request_with_a_body_does_not_poison_the_connection(node: Node, upstream: Upstream) -> None:
    smuggled = b"GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    request = b"POST /denied HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled
    request += b"GET /open/honest HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    node.raw(request)
    assert "GET /open/smuggled" not in upstream.targets()


MIB = 1024 * 1024
LARGE = CONFIG.replace("limit: none}}", "limit: none, body: 200MiB, timeout: 60s}}")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Upstream]]:
    upstream = Upstream()
    node = Node(tmp_path_factory.mktemp("large") / "node", LARGE.format(url=upstream.url)).start()
    for _ in range(20):
        node.get("/open/warm")
    yield node, upstream
    node.kill()
    upstream.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_large_uploads_take_constant_memory(large: tuple[Node, Upstream], chunked: bool) -> None:
    node, _ = large
    key = str(node.key("up", "caller")["key"])
    before = node.peak()
    size = 100 * MIB
    pieces = (b"x" * 65536 for _ in range(size // 65536))
    headers = {} if chunked else {"Content-Length": str(size)}
    answer = node.request("POST", f"/count/{chunked}", key, content=pieces, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["size"] == size
    assert node.peak() - before < 8 * 1024
    row = node.row(f"/count/{chunked}")
    assert row["bytes_in"] == size


@pytest.mark.parametrize("path", ["/bytes/104857600", "/many/1600"], ids=["sized", "chunked"])
def test_large_downloads_take_constant_memory(large: tuple[Node, Upstream], path: str) -> None:
    node, _ = large
    key = str(node.key("down", "caller")["key"])
    before = node.peak()
    with httpx.stream("GET", node.url + path, headers={"X-API-Key": key}, **PLAIN) as stream:
        assert stream.status_code == 200
        assert sum(len(part) for part in stream.iter_bytes()) == 100 * MIB
    assert node.peak() - before < 8 * 1024


def test_a_caller_that_does_not_read_takes_no_memory(large: tuple[Node, Upstream]) -> None:
    node, _ = large
    size = 50 * MIB
    before = node.peak()
    key = str(node.key("slow", "caller")["key"])
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", node.port))
        sock.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode())
        time.sleep(2)
        assert node.peak() - before < 8 * 1024
        assert node.get("/open/meanwhile").status_code == 200
        got = 0
        while got < size:
            piece = sock.recv(1 << 20)
            assert piece, f"ended after {got} bytes"
            got += len(piece)
    assert node.row(f"/bytes/{size}")["reason"] == ""


def test_a_system_that_does_not_read_takes_no_memory(large: tuple[Node, Upstream]) -> None:
    node, _ = large
    size = 50 * MIB
    before = node.peak()
    key = str(node.key("deaf", "caller")["key"])
    answers: list[httpx.Response] = []
    pieces = (b"x" * 65536 for _ in range(size // 65536))
    caller = threading.Thread(
        target=lambda: answers.append(
            node.request("POST", "/deaf", key, content=pieces, headers={"Content-Length": str(size)})
        )
    )
    caller.start()
    time.sleep(2)
    assert node.peak() - before < 8 * 1024
    assert node.get("/open/meanwhile").status_code == 200
    caller.join(30)
    assert answers[0].status_code == 200
    assert answers[0].json()["size"] == size
    assert node.peak() - before < 8 * 1024


def test_thousands_of_requests_in_one_write(large: tuple[Node, Upstream]) -> None:
    """Each is answered, in order, and what waits does not pile up in the worker."""
    node, upstream = large
    count = 14_000
    before = node.peak()
    seen = len(upstream.seen)
    raw = b"".join(b"GET /open/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))
    raw += b"GET /open/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with node.connect() as sock:
        sock.settimeout(60)
        writer = threading.Thread(target=sock.sendall, args=(raw,))
        writer.start()
        got = bytearray()
        while piece := sock.recv(1 << 20):
            got += piece
        writer.join(10)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == count + 1
    assert b"/open/last" in got[-2000:]
    assert [one.target for one in upstream.seen[seen:-1]] == [f"/open/{number}" for number in range(count)]
    named = [int(number) for number in re.findall(rb"x-target: /open/(\d+)", got)]
    assert named == list(range(count)), "the answers are in another order than the requests"
    assert node.peak() - before < 24 * 1024
    assert node.get("/open/after").status_code == 200
