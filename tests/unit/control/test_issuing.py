"""The issuer's door to the workers: whatever comes through it is answered or closed, and nothing stops the rest."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from interlock.control.issuing import BODY, BUFFERED, BUSY, THREADS, WAITING, Connection, IssuerServer, read_request
from interlock.errors import RecordUnavailable
from interlock.gateway.http1 import RequestHead, RequestReader
from interlock.issuer import app
from interlock.issuer.app import ENDPOINTS, Endpoint
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request, Response
from interlock.issuer.service import Issuer
from interlock.model import Event
from interlock.store.client_rows import ClientRows
from tests.unit.issuer.desk import SECRET, Desk, FakeRecord

BASIC = base64.b64encode(f"billing:{SECRET}".encode()).decode()
FORM = b"content-type: application/x-www-form-urlencoded\r\n"


class Held:
    """A recorder whose notes are written when they are let go, or cannot be."""

    def __init__(self, record: FakeRecord | None = None) -> None:
        self.done: list[str] = []
        self.broken = False
        self._record = record

    @property
    def held(self) -> int:
        return 0 if self._record is None else len(self._record.acts)

    def hold(self) -> None:
        self.done.append("hold")

    def release(self) -> None:
        self.done.append("release")
        if self.broken:
            raise RecordUnavailable("the disk is full")


class Wire:
    """The other end of one connection."""

    def __init__(self, server: IssuerServer) -> None:
        self._server = server
        self.got = b""
        self.closed = False
        self.connection = Connection(server)
        self.connection.connection_made(cast(asyncio.BaseTransport, self))

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.got += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost(None)

    def send(self, data: bytes) -> bytes:
        """What came back in the next turn of the event loop."""
        before = len(self.got)
        self.tell(data)
        self._server.turn()
        return self.got[before:]

    def tell(self, data: bytes) -> None:
        """The same without waiting for that turn."""
        if not self.closed:
            self.connection.data_received(data)

    async def answers(self, count: int = 1, timeout: float = 10) -> list[int]:
        """The statuses of so many answers."""
        async with asyncio.timeout(timeout):
            while self.got.count(b"HTTP/1.1 ") < count and not self.closed:
                await asyncio.sleep(0.005)
        return [int(part[:3]) for part in self.got.split(b"HTTP/1.1 ")[1:]]


def post(path: str = "/oauth/token", body: bytes = b"grant_type=client_credentials", fields: bytes = FORM) -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Basic %b\r\n%bcontent-length: %d\r\n\r\n"
    return head % (path.encode(), BASIC.encode(), fields, len(body)) + body


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


JWKS = get("/oauth/jwks")


def running(test: Callable[[IssuerServer], Awaitable[None]], desk: Desk, path: str = "") -> None:
    async def main() -> None:
        async with serving(desk.issuer, path) as server:
            await test(server)

    asyncio.run(main())


@asynccontextmanager
async def serving(issuer: Issuer | None, path: str = "", held: Held | None = None) -> AsyncIterator[IssuerServer]:
    record = held or Held()
    server = IssuerServer(Path("/nowhere"), lambda: issuer, lambda: path, lambda: record)
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.client()
    yield made
    made.state.close()


def test_a_token_a_page_and_the_next_one(desk: Desk) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        assert b'"access_token"' in wire.send(post())
        assert b'"keys"' in wire.send(JWKS)
        assert b" 404 " in wire.send(get("/oauth/nothing"))
        wire.send(get("/oauth/token"))
        assert (await wire.answers(4))[-1] == 405
        assert not wire.closed

    running(test, desk)


def test_bytes_may_come_one_by_one(desk: Desk) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        message = post()
        for number in range(len(message) - 1):
            assert wire.send(message[number : number + 1]) == b""
        assert b"access_token" in wire.send(message[-1:])

    running(test, desk)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET / HTTP/3.0\r\nhost: x\r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /oauth/jwks HTTP/1.1\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"A" * 100_000,
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 12_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_garbage_ends_the_connection_and_nothing_else(desk: Desk, garbage: bytes) -> None:
    async def test(server: IssuerServer) -> None:
        wire, other = Wire(server), Wire(server)
        wire.send(garbage)
        assert wire.closed
        assert wire.got.startswith(b"HTTP/1.1 400 ")
        wire.send(JWKS)
        assert b'"keys"' in other.send(JWKS)
        assert server.connections == {other.connection}

    running(test, desk)


def test_garbage_behind_a_good_request_does_not_take_its_answer_away(desk: Desk) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(JWKS + b"\0\0\0\0\r\n\r\n")
        assert await wire.answers(2) == [200, 400]
        assert wire.closed

    running(test, desk)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_never_ends_is_cut_off(desk: Desk, chunked: bool) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        framing = b"transfer-encoding: chunked" if chunked else b"content-length: 1000000000"
        wire.send(b"POST /oauth/token HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % framing)
        piece = b"x" * 65536
        sent = 0
        while not wire.closed and sent < 2 * BODY:
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        assert wire.closed
        assert sent <= BODY + len(piece)
        assert wire.got.startswith(b"HTTP/1.1 413 ")

    running(test, desk)


def test_what_is_pipelined_is_answered_in_its_order(desk: Desk) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(JWKS + post() + get("/oauth/nothing") + JWKS)
        assert await wire.answers(4) == [200, 200, 404, 200]

    running(test, desk)


def test_nobody_fills_the_memory_while_his_request_is_answered(desk: Desk, gate: Gate) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(get("/wait"))
        for _ in range(BUFFERED // 4096 + 2):
            wire.send(b"x" * 4096)
        assert wire.closed
        gate.open()

    running(test, desk)


def test_head_has_the_length_and_no_body(desk: Desk) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        full = wire.send(JWKS)
        head = wire.send(get("/oauth/jwks", "HEAD"))
        assert head == full[: full.index(b"\r\n\r\n") + 4]
        wire.send(get("/oauth/token", "HEAD"))
        assert (await wire.answers(3))[-1] == 405

    running(test, desk)


@pytest.mark.parametrize("value", ["/a\r\nset-cookie: x=y", "/a\nb", "/a\0", "/\u20ac"])
def test_no_answer_carries_a_field_that_somebody_else_wrote(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Whatever slips into a redirect: a broken line is an answer of our own."""
    evil = Endpoint(lambda _issuer, _request: Response(303, (("location", value),)), ("GET",), lambda _request: False)
    monkeypatch.setitem(ENDPOINTS, "/evil", evil)

    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        answer = wire.send(get("/evil"))
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"set-cookie" not in answer
        assert b'"keys"' in wire.send(JWKS)

    running(test, desk)


# -- what comes together


def test_what_comes_together_is_written_once_before_any_of_it_is_given_out(desk: Desk) -> None:
    held = Held(desk.record)

    async def main() -> None:
        async with serving(desk.issuer, held=held) as server:
            wires = [Wire(server) for _ in range(5)]
            release = held.release

            def look() -> None:
                assert len(desk.record.of(Event.TOKEN_ISSUE)) == 5
                assert not any(wire.got for wire in wires)
                release()

            held.release = look  # type: ignore[method-assign]
            for wire in wires:
                wire.tell(post())
            assert held.done == []
            server.turn()
            assert all(b"access_token" in wire.got for wire in wires)
            assert held.done == ["hold", "release"]

    asyncio.run(main())


def test_what_cannot_be_written_is_not_given_out(desk: Desk) -> None:
    held = Held(desk.record)

    async def main() -> None:
        async with serving(desk.issuer, held=held) as server:
            wires = [Wire(server) for _ in range(3)]
            public = Wire(server)
            held.broken = True
            for wire in wires:
                wire.tell(post())
            public.tell(JWKS)
            server.turn()
            for wire in wires:
                assert wire.got.startswith(b"HTTP/1.1 503 ")
                assert b"access_token" not in wire.got
            assert b'"keys"' in public.got, "nothing was noted of it"
            held.broken = False
            assert b"access_token" in wires[0].send(post())

    asyncio.run(main())


class Panic(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize("fault", [RuntimeError("ils_secret"), Panic("ils_secret")])
def test_a_fault_among_them_lets_the_others_be_answered_and_the_record_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*_: object) -> Response:
        raise fault

    monkeypatch.setitem(ENDPOINTS, "/fail", Endpoint(fail, ("GET",), lambda _request: False))
    held = Held(desk.record)

    async def main() -> None:
        async with serving(desk.issuer, held=held) as server:
            early, bad, late = Wire(server), Wire(server), Wire(server)
            early.tell(post())
            bad.tell(get("/fail"))
            late.tell(post())
            server.turn()
            assert bad.got.startswith(b"HTTP/1.1 500 ")
            assert b"ils_secret" not in bad.got
            assert b"access_token" in early.got
            assert b"access_token" in late.got
            assert held.done == ["hold", "release"]

    asyncio.run(main())


def test_where_there_can_be_no_more_threads_the_others_are_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def test(server: IssuerServer) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(server._threads, "submit", fail)
            for _ in range(WAITING + 1):
                early, slow, late = Wire(server), Wire(server), Wire(server)
                for wire, data in ((early, JWKS), (slow, get("/wait")), (late, JWKS)):
                    wire.tell(data)
                server.turn()
                assert slow.got.startswith(b"HTTP/1.1 503 ")
                assert b'"keys"' in early.got
                assert b'"keys"' in late.got
        gate.open()
        wire = Wire(server)
        wire.send(get("/wait"))
        assert await wire.answers() == [200], "no place was lost"

    running(test, desk)


def test_the_state_is_looked_at_once_for_what_comes_together_and_again_for_what_comes_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = ClientRows.version
    monkeypatch.setattr(ClientRows, "version", lambda rows: looks.append(1) or look(rows))

    async def test(server: IssuerServer) -> None:
        wires = [Wire(server) for _ in range(5)]
        for wire in wires:
            wire.tell(post())
        server.turn()
        assert all(b"access_token" in wire.got for wire in wires)
        assert len(looks) == 1
        desk.issuer.clients.change("billing", secrets=())
        for wire in wires:
            wire.tell(post())
        server.turn()
        assert all(wire.got.count(b"access_token") == 1 and b" 401 " in wire.got for wire in wires)

    running(test, desk)


def test_a_client_that_is_gone_before_its_turn_comes_is_nobody(desk: Desk) -> None:
    """Whoever takes a secret away and sees the command return has it refused, also where it waits to be looked at."""

    async def test(server: IssuerServer) -> None:
        early, late = Wire(server), Wire(server)
        assert b"access_token" in early.send(post())
        late.tell(post())
        desk.issuer.clients.change("billing", secrets=())
        server.turn()
        assert b" 401 " in late.got

    running(test, desk)


# -- what waits


class Gate:
    """An endpoint that answers when it is let go."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.began = threading.Semaphore(0)
        self.raises: Exception | None = None

    def handle(self, _issuer: Issuer, _request: Request) -> Response:
        self.began.release()
        assert self.going.wait(20)
        if self.raises is not None:
            raise self.raises
        return Response(200)

    def open(self) -> None:
        self.going.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setitem(ENDPOINTS, "/wait", Endpoint(made.handle, ("GET",)))
    yield made
    made.open()


def test_tokens_of_machines_never_wait_for_what_waits(desk: Desk, gate: Gate) -> None:
    async def test(server: IssuerServer) -> None:
        slow = [Wire(server) for _ in range(THREADS + 5)]
        for wire in slow:
            wire.send(get("/wait"))
        assert b"access_token" in Wire(server).send(post())
        assert all(wire.got == b"" for wire in slow)
        gate.open()
        for wire in slow:
            assert await wire.answers() == [200]

    running(test, desk)


def test_when_too_many_wait_the_next_is_told_to_come_again(desk: Desk, gate: Gate) -> None:
    async def test(server: IssuerServer) -> None:
        slow = [Wire(server) for _ in range(WAITING)]
        for wire in slow:
            wire.send(get("/wait"))
        late = Wire(server)
        answer = late.send(get("/wait"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        assert BUSY.body in answer
        assert b"access_token" in late.send(post())
        gate.open()
        for wire in slow:
            assert await wire.answers() == [200]
        assert late.send(get("/wait")) == b""
        assert (await late.answers(3))[-1] == 200, "there is room again"

    running(test, desk)


def test_a_fault_in_a_thread_is_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Response:
        raise RuntimeError("ils_secret")

    monkeypatch.setitem(ENDPOINTS, "/fail", Endpoint(fail, ("GET",)))

    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(get("/fail"))
        assert await wire.answers() == [500]
        assert b"ils_secret" not in wire.got

    running(test, desk)


@pytest.mark.parametrize("slow", [False, True])
def test_who_comes_in_the_second_of_a_revocation_is_answered_in_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    seen: list[int] = []

    def handle(_issuer: Issuer, request: Request) -> Response:
        seen.append(request.now)
        if len(seen) == 1:
            desk.clock.pass_seconds(1)
            raise NotYet(0.01)
        return Response(200)

    monkeypatch.setitem(ENDPOINTS, "/later", Endpoint(handle, ("GET",), lambda _request: slow))

    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(get("/later"))
        assert await wire.answers() == [200]
        assert seen[1] > seen[0]

    running(test, desk)


def test_who_has_gone_is_not_answered(desk: Desk, gate: Gate) -> None:
    async def test(server: IssuerServer) -> None:
        wire = Wire(server)
        wire.send(get("/wait"))
        wire.close()
        gate.open()
        await asyncio.sleep(0.05)
        assert wire.got == b""
        assert server.connections == set()

    running(test, desk)


def test_without_an_issuer_everybody_is_told_to_come_again() -> None:
    async def main() -> None:
        async with serving(None) as server:
            assert Wire(server).send(post()).startswith(b"HTTP/1.1 503 ")

    asyncio.run(main())


def test_whoever_has_asked_is_answered_before_the_process_ends(desk: Desk, gate: Gate) -> None:
    async def main() -> None:
        async with serving(desk.issuer) as server:
            idle, busy = Wire(server), Wire(server)
            busy.send(get("/wait"))
            ending = asyncio.create_task(server.close())
            await asyncio.sleep(0.02)
            assert idle.closed
            assert not busy.closed
            assert busy.send(JWKS) == b""
            gate.open()
            await ending
            assert await busy.answers() == [200]
            assert busy.closed

    asyncio.run(main())


# -- what a request is


def head_of(data: bytes) -> RequestHead:
    reader = RequestReader()
    reader.feed(data)
    head = reader.next()
    assert isinstance(head, RequestHead)
    return head


def request_of(fields: bytes = b"", target: str = "/oauth/token?a=b", prefix: str = "") -> Request:
    head = head_of(f"POST {target} HTTP/1.1\r\nhost: x\r\n".encode() + fields + b"\r\n")
    return read_request(head, b"body", prefix, 7)


def test_what_the_worker_says_of_the_connection() -> None:
    der = b"\x30\x03\x02\x01\x01"
    certificate = base64.b64encode(der)
    found = request_of(
        b"interlock-source: 192.0.2.7\r\ninterlock-certificate: %b\r\n"
        b"traceparent: 00-%b-%b-01\r\n" % (certificate, b"a" * 32, b"b" * 16)
    )
    assert (found.method, found.path, found.query, found.body) == ("POST", "/oauth/token", "a=b", b"body")
    assert (found.source, found.certificate, found.now, found.call) == ("192.0.2.7", der, 7, "a" * 32)
    assert not any(name.startswith("interlock-") for name in found.headers)


@pytest.mark.parametrize(
    "fields",
    [
        b"interlock-certificate: !!!\r\n",
        b"interlock-certificate: AAA\r\n",
        b"interlock-certificate: MAMCAQE=\r\ninterlock-certificate: MAMCAQE=\r\n",
        b"interlock-certificate: MAMCAQE=, MAMCAQE=\r\n",
    ],
)
def test_a_certificate_that_no_worker_wrote_is_no_request(fields: bytes) -> None:
    with pytest.raises(ValueError):
        request_of(fields)


def test_a_field_that_is_given_twice_is_one_of_both() -> None:
    found = request_of(b"Authorization: Basic YQ==\r\nauthorization: Basic Yg==\r\n")
    assert found.headers["authorization"] == "Basic YQ==, Basic Yg=="


@pytest.mark.parametrize(
    ("target", "prefix", "path"),
    [
        ("/oauth/token", "", "/oauth/token"),
        ("/tenant/oauth/token", "/tenant", "/oauth/token"),
        ("/.well-known/oauth-authorization-server/tenant", "/tenant", "/.well-known/oauth-authorization-server"),
        ("/tenant/.well-known/openid-configuration", "/tenant", "/.well-known/openid-configuration"),
        ("/tenant/tenant/oauth/token", "/tenant", "/tenant/oauth/token"),
    ],
)
def test_the_path_of_the_issuer_s_url_is_taken_off(target: str, prefix: str, path: str) -> None:
    assert request_of(target=target, prefix=prefix).path == path


def test_what_is_asked_is_not_what_it_looks_like(desk: Desk) -> None:
    """Whoever dresses a request up MUST NOT have it wait for the disk on the loop that serves everybody."""
    slow = ENDPOINTS["/oauth/token"].slow

    def token(body: str) -> Any:
        return slow(Request("POST", "/oauth/token", headers={"content-type": app_form}, body=body.encode()))

    app_form = "application/x-www-form-urlencoded"
    assert not token("grant_type=client_credentials")
    assert not token("grant_type=client%5Fcredentials")
    assert token("grant_type=refresh_token&x=grant_type=client_credentials")
    assert token("x=grant_type=client_credentials")
    assert token("grant_type=client_credentials&grant_type=refresh_token")
    look = app.ENDPOINTS["/oauth/introspect"].slow

    def introspect(body: str) -> Any:
        return look(Request("POST", "/oauth/introspect", headers={"content-type": app_form}, body=body.encode()))

    assert not introspect("token=eyJh.b.c")
    assert introspect("token=%69lr_a.b")
    assert introspect("token=ilr_a.b&x=eyJ")
