"""Transports without a wire, and the ends of a gateway's connections that tests hold in their hands."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from interlock.gateway.call import Call
from interlock.gateway.connection import Http1Connection
from interlock.gateway.http1.limits import REQUEST_LIMITS, ReadLimits
from interlock.gateway.peer import Peer


class FakeTransport:
    """Keeps what is written. `unsent` is what it claims to hold back."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.reading = True
        self.ended = self.closed = self.aborted = False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class FakePipeline:
    """Admits every call and leaves it to the test; `raises` makes `handle` fail, `refuses` answers at once."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.ended: list[tuple[Call, int, object]] = []
        self.failures: list[Call] = []
        self.refusals: list[object] = []
        self.raises: Exception | None = None
        self.refuses = False

    def monotonic(self) -> int:
        return 0

    def handle(self, call: Call) -> None:
        self.calls.append(call)
        if self.raises is not None:
            raise self.raises
        if self.refuses:
            call.stream.send_whole(404, [], b"")

    def failed(self, call: Call) -> None:
        self.failures.append(call)

    def malformed(self, stream: object, peer: Peer, refusal: object) -> None:
        self.refusals.append(refusal)

    def outcome(self, call: Call, status: int, reason: object, note: str) -> None:
        self.ended.append((call, status, reason))


class Desk:
    """One connection of a caller, its listener's clock, and what the loop was asked to do soon."""

    def __init__(self, limits: ReadLimits = REQUEST_LIMITS) -> None:
        self.time = 100.0
        self.soon: list[Callable[[], None]] = []
        self.pipeline = FakePipeline()
        self.listener = SimpleNamespace(
            limits=limits,
            times=SimpleNamespace(head=10.0, body=30.0, idle=60.0),
            pipeline=self.pipeline,
            loop=SimpleNamespace(call_soon=self.soon.append),
            now=lambda: self.time,
            draining=False,
            opened=lambda *_: None,
            closed=lambda *_: None,
        )
        listener: Any = self.listener
        self.connection = Http1Connection(listener, Peer("127.0.0.1"))
        self.transport = FakeTransport()
        transport: Any = self.transport
        self.connection.connection_made(transport)

    def run_soon(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for work in soon:
            work()

    def answer(self, body: bytes = b"x") -> None:
        """The present call's answer, whole."""
        self.connection.send_head(200, b"OK", [], len(body))
        self.connection.send_body(body)
        self.connection.send_end()
