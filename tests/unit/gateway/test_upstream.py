"""An upstream's connection, with the wire in the test's hands, and the pool that keeps it."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.gateway.http1 import ResponseHead
from interlock.gateway.upstream import Address, Pool, Totals, UpstreamConnection
from interlock.model import Reason
from interlock.snapshot import ServiceSpec
from tests.unit.gateway.wires import FakeTransport

RESTING, _OTHER_END = socket.socketpair()  # nothing ever arrives
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Asker:
    """An exchange that keeps what it is told. `slow`: its caller takes nothing."""

    def __init__(self, slow: bool = False) -> None:
        self.method = "GET"
        self.replayable = False
        self.slow = slow
        self.connection: UpstreamConnection | None = None
        self.told: list[object] = []

    def connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def unconnected(self, reason: Reason, note: str) -> None:
        self.told.append(reason)

    def answer_head(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def answer_body(self, data: bytes) -> None:
        self.told.append(data)
        if self.slow and self.connection is not None:
            self.connection.pause_answer()

    def answer_waiting(self) -> None: ...

    def answered(self) -> None:
        self.told.append("answered")

    def broken(self, reason: Reason, note: str) -> None:
        self.told.append(reason)

    def upstream_full(self) -> None: ...

    def upstream_drained(self) -> None: ...


class Shelf:
    """A pool that keeps what is given back."""

    def __init__(self) -> None:
        self.back: list[UpstreamConnection] = []

    def release(self, connection: UpstreamConnection) -> None:
        self.back.append(connection)

    def lost(self, connection: UpstreamConnection) -> None: ...


def connect(asker: Asker, sock: Any = None, tls: Any = None) -> tuple[UpstreamConnection, FakeTransport, Shelf]:
    shelf: Any = Shelf()
    connection = UpstreamConnection(shelf, Address("http://127.0.0.1:1", tls), sock or RESTING)
    transport: Any = FakeTransport()
    connection.connection_made(transport)
    begin(connection, asker)
    return connection, transport, shelf


def begin(connection: UpstreamConnection, asker: Asker) -> None:
    connection.exchange = asker
    connection.begin("GET")
    connection.sent_all = True
    asker.connected(connection)


def test_a_slow_caller_leaves_no_deaf_connection_behind() -> None:
    connection, transport, shelf = connect(Asker(slow=True))
    connection.data_received(ANSWER)
    assert shelf.back == [connection]
    assert transport.reading, "the next call's answer would never be read"
    after = Asker()
    begin(connection, after)
    connection.data_received(ANSWER)
    assert after.told == [200, b"ok", "answered"]


def test_what_is_not_sent_yet_is_not_the_next_request() -> None:
    """The upstream answered early; the rest of the body would be read as a request."""
    connection, transport, shelf = connect(asker := Asker())
    transport.unsent = 10
    connection.data_received(ANSWER)
    assert asker.told[-1] == "answered"
    assert shelf.back == []
    assert transport.is_closing()


@pytest.mark.parametrize("tls", [None, SimpleNamespace()], ids=["plain", "tls"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_bytes_on_a_resting_connection_make_it_stale(tls: Any, sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        connection, _, _ = connect(Asker(), ours, tls)
        theirs.sendall(sent)
        assert connection.stale() is bool(sent)


def test_the_end_of_a_resting_connection_makes_it_stale() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        connection, _, _ = connect(Asker(), ours)
        theirs.close()
        assert connection.stale()


def test_who_waits_behind_a_failed_connection_is_told_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there any more

    async def main() -> list[Asker]:
        spec = ServiceSpec(name="up", upstreams=[f"http://127.0.0.1:{port}"], pool=1, connect_timeout_ns=10**10)
        pool = Pool(spec, asyncio.get_running_loop(), Totals())
        askers = [Asker() for _ in range(5)]
        for asker in askers:
            pool.acquire(asker)
        async with asyncio.timeout(5):
            while not all(asker.told for asker in askers):
                await asyncio.sleep(0.01)
        assert pool.open == 0
        return askers

    assert [asker.told for asker in asyncio.run(main())] == [[Reason.UPSTREAM_UNREACHABLE]] * 5


def test_a_host_that_is_no_host_is_told_too() -> None:
    async def main() -> list[object]:
        spec = ServiceSpec(
            name="up", upstreams=["http://" + "a" * 70 + ".example:1"], pool=1, connect_timeout_ns=10**10
        )
        pool = Pool(spec, asyncio.get_running_loop(), Totals())
        asker = Asker()
        pool.acquire(asker)
        async with asyncio.timeout(5):
            while not asker.told:
                await asyncio.sleep(0.01)
        assert pool.open == 0
        return asker.told

    assert asyncio.run(main()) == [Reason.UPSTREAM_UNREACHABLE]
