"""The gateway's main job on real input: what passes, how it is changed, and what is refused."""

from __future__ import annotations

import base64
import json
import socket
import time

import httpx
import pytest

from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration


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


def test_answers_do_not_reveal_the_stack(node: Node, upstream: Upstream) -> None:
    answer = node.get("/open/../revealing")
    assert answer.status_code in (200, 401)
    raw = node.raw(b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"server:" not in raw.lower()


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
    with httpx.Client(base_url=node.url, headers={"X-API-Key": key}, trust_env=False) as client:
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


def test_large_bodies_take_constant_memory(node: Node, key: str) -> None:
    def resident() -> int:
        total = 0
        for pid in node.pids("worker"):
            with open(f"/proc/{pid}/status") as status:
                total += int(next(line for line in status if line.startswith("VmHWM")).split()[1])
        return total

    node.get("/warm", key)
    before = resident()
    size = 100 * 1024 * 1024
    piece = b"x" * 65536
    answer = node.request("POST", "/count", key, content=(piece for _ in range(size // len(piece))))
    assert answer.status_code == 413 or answer.json()["size"] == size
    with httpx.stream("GET", f"{node.url}/bytes/{size}", headers={"X-API-Key": key}, trust_env=False) as stream:
        assert sum(len(part) for part in stream.iter_bytes()) == size
    assert resident() - before < 16 * 1024
