"""What a listener does for connections that have not said anything yet, or cannot be had."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.gateway import listener as subject
from interlock.gateway.hello import HELLO_BYTES, NO_HELLO
from interlock.gateway.http1.limits import REQUEST_LIMITS
from interlock.gateway.listener import HANDSHAKE_TIMEOUT, Budgets, Listener
from interlock.snapshot import ConnectionSpec
from tests.unit.gateway.test_hello import HELLO, flood, in_records


def listening(loop: Any, sock: Any) -> Listener:
    parts: Any = SimpleNamespace()
    return Listener(
        loop,
        sock,
        pipeline=parts,
        budgets=Budgets(ConnectionSpec()),
        limits=REQUEST_LIMITS,
        trusted=list,
        certificates=None,
        meter=parts,
    )


class Swept:
    """A connection that is looked at each second."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.done: list[str] = []

    def sweep(self, _now: float) -> None:
        self.done.append("sweep")
        if self.problem is not None:
            raise self.problem

    def reset(self) -> None:
        self.done.append("reset")


def test_one_connection_that_fails_inside_holds_up_no_other() -> None:
    """Else no call of the worker would be looked at any more, and it would be killed as dead."""
    listener = listening(Wakes(), Refusing(errno.EAGAIN))
    found: list[Any] = [Swept(RuntimeError("a fault of ours")), Swept(), Swept(ZeroDivisionError())]
    listener.connections.update(found)
    listener.sweep(1.0)
    assert [one.done for one in found] == [["sweep", "reset"], ["sweep"], ["sweep", "reset"]]


# -- accepting


class Wakes:
    """A loop that calls a reader for as long as it is there, since somebody always waits to be accepted."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return 0.0

    def add_reader(self, fd: int, reader: Callable[[], None]) -> None:
        self.readers[fd] = reader

    def remove_reader(self, fd: int) -> bool:
        return self.readers.pop(fd, None) is not None

    def call_later(self, delay: float, work: Callable[[], None]) -> None:
        self.later.append((delay, work))

    def turn(self) -> None:
        for reader in list(self.readers.values()):
            reader()


class Refusing:
    """A listening socket that somebody waits at, and which cannot be accepted from."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.asked = 0

    def setblocking(self, flag: bool) -> None: ...

    def fileno(self) -> int:
        return 7

    def accept(self) -> Any:
        self.asked += 1
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_worker_without_descriptors_does_not_ask_for_the_same_caller_without_end(code: int) -> None:
    loop, sock = Wakes(), Refusing(code)
    listening(loop, sock).start()
    for asked in range(1, 4):
        for _ in range(1_000):
            loop.turn()
        assert sock.asked == asked
        ((delay, again),) = loop.later
        assert 0.1 <= delay <= 1
        loop.later.clear()
        again()


def test_a_worker_without_descriptors_that_drains_does_not_begin_to_accept_again() -> None:
    loop, sock = Wakes(), Refusing(errno.EMFILE)
    own = listening(loop, sock)
    own.start()
    loop.turn()
    own.drain()
    for _, again in loop.later:
        again()
    assert loop.readers == {}


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO])
def test_a_caller_who_is_gone_holds_nobody_up(code: int) -> None:
    loop, sock = Wakes(), Refusing(code)
    listening(loop, sock).start()
    loop.turn()
    loop.turn()
    assert sock.asked == 2
    assert loop.later == []


# -- waiting for a ClientHello


class Looks:
    """Plays a caller who sends the pieces one by one, each when the listener has nothing to do but wait."""

    def __init__(self, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        self.waited: list[float] = []
        self.parsed: list[int] = []
        self._pieces = pieces
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._read = subject.server_name
        monkeypatch.setattr(subject, "server_name", self._parse)
        monkeypatch.setattr(subject, "asyncio", SimpleNamespace(sleep=self._sleep))

    def hello(self) -> bytes:
        """What the listener takes for one; raises `TimeoutError` when it would be given up."""
        with self._here, self._there:
            return asyncio.run(self._hello())

    async def _hello(self) -> bytes:
        self._there.send(self._pieces.pop(0))
        return await listening(asyncio.get_running_loop(), self._here)._hello(self._here)

    def _parse(self, data: bytes) -> str:
        self.parsed.append(len(data))
        return self._read(data)

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        if sum(self.waited) > HANDSHAKE_TIMEOUT:
            raise TimeoutError
        if self._pieces:
            self._there.send(self._pieces.pop(0))


def test_a_hello_in_pieces_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([HELLO[:3], HELLO[3:100], HELLO[100:]], monkeypatch)
    assert looks.hello() == HELLO
    assert looks.parsed == [3, 100, len(HELLO)]


def test_a_hello_that_does_not_go_on_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([HELLO[:-1]], monkeypatch)
    with pytest.raises(TimeoutError):
        looks.hello()
    assert looks.parsed == [len(HELLO) - 1]
    assert len(looks.waited) < 30


def test_a_hello_that_drips_is_read_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """In records of one byte, which is what is dearest to read."""
    raw = in_records(HELLO, 1)
    looks = Looks([raw[at : at + 20] for at in range(0, len(raw), 20)], monkeypatch)
    with pytest.raises(TimeoutError):
        looks.hello()
    assert len(looks.parsed) < 30


def test_a_hello_for_which_there_is_no_room_is_left_to_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = flood(HELLO_BYTES - 9, 1)
    looks = Looks([raw], monkeypatch)
    assert looks.hello() == NO_HELLO
    assert looks.waited == []
