"""Pooled connections to the systems behind.

One `Pool` per service and worker. A connection carries one call at a time and speaks to it through the
`Exchange` protocol; it goes back to the pool only after an answer that ended exactly where its framing
said. It MUST NOT be reused after anything else: bytes on an idle connection, an answer before its
request, a body cut short.

A stale pooled connection is retried once, on a fresh one, when nothing was sent; a safe request without
a body (RFC 9110 section 9.2.1) also when it was sent and the connection ended without a single byte of
answer, the race that RFC 9112 section 9.3.1 describes.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from interlock.gateway.http1 import END, NEED_DATA, Malformed, ResponseHead, ResponseReader
from interlock.model import Reason
from interlock.snapshot import ServiceSpec
from interlock.snapshot.address import socket_name

IDLE_TIMEOUT: Final = 55.0  # seconds; below the usual 60 to 75 of upstreams
MAX_WAITING: Final = 1024  # calls of one worker waiting for a connection of one service
HIGH_WATER: Final = 256 * 1024
UNIX: Final = "unix:"  # what an address begins with that is a socket of another process of the node


class Exchange(Protocol):
    """What a connection tells the call that uses it. Exactly one of `answered` and `broken` ends it."""

    method: str
    replayable: bool

    def connected(self, connection: UpstreamConnection) -> None:
        """A connection is yours: write the request."""
        ...

    def unconnected(self, reason: Reason, note: str) -> None:
        """There is no connection to be had; nothing was sent."""
        ...

    def answer_head(self, head: ResponseHead) -> None: ...

    def answer_body(self, data: bytes) -> None: ...

    def answer_waiting(self) -> None:
        """Nothing more for now."""
        ...

    def answered(self) -> None:
        """The answer is complete; the connection is the pool's again."""
        ...

    def broken(self, reason: Reason, note: str) -> None:
        """The connection ended or spoke nonsense before the answer was complete."""
        ...

    def upstream_full(self) -> None:
        """Stop giving request body."""
        ...

    def upstream_drained(self) -> None: ...


class UpstreamConnection:
    """One connection to one address of a service; to the event loop, an `asyncio.Protocol` by its shape."""

    __slots__ = (
        "_paused",
        "_reader",
        "_transport",
        "_unasked",
        "address",
        "answering",
        "closed",
        "exchange",
        "pool",
        "rested",
        "reused",
        "sent_all",
    )

    def __init__(self, pool: Pool, address: Address, sock: socket.socket) -> None:
        self.pool = pool
        self.address = address
        self._unasked = select.poll()  # of the socket itself, beside the transport, to look without reading
        self._unasked.register(sock, select.POLLIN)
        self.exchange: Exchange | None = None
        self.closed = False
        self.reused = False  # it has answered a call before
        self.answering = False  # a byte of this call's answer has arrived
        self.sent_all = False  # this call's request is written to its end
        self.rested = 0.0
        self._paused = False  # reading stands still for a slow caller
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader("GET")

    # -- what a call does

    def begin(self, method: str) -> None:
        """Make ready for a new request."""
        self._reader.begin(method)
        self.answering = False
        self.sent_all = False

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def pause_answer(self) -> None:
        """The caller is slow: stop reading the answer."""
        if self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume_answer(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    def abandon(self) -> None:
        """Forget the call and reset the connection; the upstream MUST NOT take what it got for whole."""
        self.exchange = None
        self._abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._abort()  # nobody asked
            return
        self.answering = True
        reader = self._reader
        try:
            reader.feed(data)
            self._deliver(exchange, reader)
        except Malformed as problem:
            self._break(Reason.UPSTREAM_INVALID, problem.note)

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is None:
            self._abort()
            return False
        if not self.answering:
            self._break(Reason.UPSTREAM_UNREACHABLE, "closed without an answer")
            return False
        try:
            self._reader.feed_eof()
            self._deliver(exchange, self._reader)
        except Malformed as problem:
            self._break(Reason.UPSTREAM_ABORTED, problem.note)
        else:
            if self.exchange is exchange:
                self._break(Reason.UPSTREAM_ABORTED, "closed before the end of the answer")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.lost(self)
        self.closed = True
        if self.exchange is not None:
            reason = Reason.UPSTREAM_ABORTED if self.answering else Reason.UPSTREAM_UNREACHABLE
            self._break(reason, f"connection lost: {type(exc).__name__ if exc else 'closed'}")

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_drained()

    # -- inside

    def stale(self) -> bool:
        """Whether the other side has closed it, or spoken unasked, while it rested.

        The event loop may not have told yet, and what is already in the socket would be taken for the
        answer to the next call's request. Under TLS, too, whatever is there was not asked for.
        """
        if self.closed or self._transport is None or self._transport.is_closing():
            return True
        return bool(self._unasked.poll(0))

    def _deliver(self, exchange: Exchange, reader: ResponseReader) -> None:
        while self.exchange is exchange:
            event = reader.next()
            if event is NEED_DATA:
                exchange.answer_waiting()
                return
            if event is END:
                self._answered(exchange)
                return
            if isinstance(event, bytes):
                exchange.answer_body(event)
            elif isinstance(event, ResponseHead):
                exchange.answer_head(event)

    def _answered(self, exchange: Exchange) -> None:
        self.exchange = None
        if self.sent_all and self._reader.reusable and not self.closed and self._all_is_out():
            self.reused = True
            self.resume_answer()  # the caller that was too slow for this answer is not the next one
            self.pool.release(self)
        else:
            self._abort() if not self.sent_all else self.close()
        exchange.answered()

    def _all_is_out(self) -> bool:
        """Nothing of the request waits in our buffer, where the next one would queue behind it."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def _break(self, reason: Reason, note: str) -> None:
        exchange, self.exchange = self.exchange, None
        self._abort()
        if exchange is None:
            return
        if self.reused and not self.answering and exchange.replayable and self.pool.retry(exchange):
            return
        exchange.broken(reason, note)

    def close(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.abort()


class Address:
    """Where one upstream of a service listens."""

    __slots__ = ("authority", "host", "idle", "name", "path", "port", "server_name", "tls")

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        self.path = url.removeprefix(UNIX) if url.startswith(UNIX) else ""  # of a socket of another process of ours
        parts = urlsplit("http://interlock" if self.path else url)
        self.host = parts.hostname or ""
        self.tls = tls if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls is not None else 80)
        self.authority = parts.netloc.rpartition("@")[2].encode("ascii")
        self.name = self.host if self.path else f"{self.host}:{self.port}"
        self.server_name = self.host if self.tls is not None else None
        self.idle: list[UpstreamConnection] = []


class Totals:
    """What all pools of one worker have done since it began."""

    __slots__ = ("connections", "retries")

    def __init__(self) -> None:
        self.connections = 0
        self.retries = 0


class Pool:
    """The connections of one worker to one service."""

    def __init__(self, spec: ServiceSpec, loop: asyncio.AbstractEventLoop, totals: Totals) -> None:
        self.spec = spec
        self._totals = totals
        self._loop = loop
        tls = upstream_context(spec) if any(url.startswith("https:") for url in spec.upstreams) else None
        self._addresses = [Address(url, tls) for url in spec.upstreams]
        self.authority = self._addresses[0].authority  # the Host that is sent
        self._turn = 0
        self._open = 0
        self._waiting: deque[tuple[Exchange, float]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._closing = False
        self._connect_timeout = spec.connect_timeout_ns / 1e9

    @property
    def open(self) -> int:
        """Connections made or being made."""
        return self._open

    def acquire(self, exchange: Exchange) -> None:
        """Give `exchange` a connection, at once if one rests, else as soon as there is one."""
        addresses = self._addresses
        if len(addresses) == 1:
            address = addresses[0]
        else:
            self._turn = (self._turn + 1) % len(addresses)
            address = addresses[self._turn]
        idle = address.idle
        while idle:
            connection = idle.pop()
            if connection.stale():
                connection.abandon()
                continue
            connection.exchange = exchange
            connection.begin(exchange.method)
            exchange.connected(connection)
            return
        if self._open >= self.spec.pool:
            if len(self._waiting) >= MAX_WAITING:
                exchange.unconnected(Reason.UPSTREAM_BUSY, "too many calls wait for a connection")
            else:
                self._waiting.append((exchange, self._loop.time() + self._connect_timeout))
            return
        self._connect(exchange)

    def retry(self, exchange: Exchange) -> bool:
        """A resting connection turned out to be dead: once more, on a fresh one."""
        if self._closing:
            return False
        exchange.replayable = False
        self._totals.retries += 1
        self._connect(exchange)
        return True

    def cancel(self, exchange: Exchange) -> None:
        """The call no longer waits."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not exchange)

    def release(self, connection: UpstreamConnection) -> None:
        if self._closing:
            connection.close()
            return
        if self._waiting:
            exchange, _ = self._waiting.popleft()
            connection.exchange = exchange
            connection.begin(exchange.method)
            exchange.connected(connection)
            return
        connection.rested = self._loop.time()
        connection.address.idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone; whoever waits gets a new one."""
        if connection.closed:
            return
        self._open -= 1
        if connection in connection.address.idle:
            connection.address.idle.remove(connection)
        self._serve_waiting()

    def sweep(self, now: float) -> None:
        """Once a second: close what rested too long, answer who waited too long."""
        for address in self._addresses:
            while address.idle and now - address.idle[0].rested > IDLE_TIMEOUT:
                address.idle.pop(0).close()
        while self._waiting and self._waiting[0][1] < now:
            exchange, _ = self._waiting.popleft()
            exchange.unconnected(Reason.UPSTREAM_BUSY, "no connection became free in time")

    def close(self) -> None:
        """Stop reusing; connections in use finish their call."""
        self._closing = True
        for address in self._addresses:
            while address.idle:
                address.idle.pop().close()

    def _connect(self, exchange: Exchange) -> None:
        self._open += 1
        task = self._loop.create_task(self._open_connection(exchange))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open_connection(self, exchange: Exchange) -> None:
        """Try each address once, beginning with the one whose turn it is; nothing has been sent yet."""
        note = ""
        reason = Reason.UPSTREAM_UNREACHABLE
        for offset in range(len(self._addresses)):
            address = self._addresses[(self._turn + offset) % len(self._addresses)]
            try:
                async with asyncio.timeout(self._connect_timeout):
                    connection = await self._dial(address)
            except TimeoutError:
                reason, note = Reason.UPSTREAM_TIMEOUT, f"no connection to {address.host}:{address.port} in time"
            except ssl.SSLCertVerificationError as problem:
                reason, note = Reason.UPSTREAM_UNREACHABLE, f"certificate refused: {problem.verify_message}"
            except Exception as problem:  # also a host name that cannot be encoded: whoever waits MUST be told
                reason = Reason.UPSTREAM_UNREACHABLE
                note = f"{address.host}:{address.port}: {getattr(problem, 'strerror', '') or type(problem).__name__}"
            else:
                self._totals.connections += 1
                if connection.closed:
                    reason, note = Reason.UPSTREAM_UNREACHABLE, "closed at once"
                    self._open += 1  # `lost` has counted it
                    continue
                connection.exchange = exchange
                connection.begin(exchange.method)
                exchange.connected(connection)
                return
        self._open -= 1
        exchange.unconnected(reason, note)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        """There is room for a connection: make it for whoever waits longest."""
        if self._waiting and self._open < self.spec.pool:
            exchange, _ = self._waiting.popleft()
            self._connect(exchange)

    async def _dial(self, address: Address) -> UpstreamConnection:
        """A connection to the first of the host's addresses that answers."""
        if address.path:
            with socket_name(Path(address.path)) as name:
                return await self._meet(address, socket.AF_UNIX, 0, name)
        failure: OSError | None = None
        for family, _, protocol, _, where in await self._loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        ):
            try:
                return await self._meet(address, family, protocol, where)
            except OSError as problem:
                failure = problem
        raise failure or OSError(f"{address.host} has no address")

    async def _meet(self, address: Address, family: int, protocol: int, where: Any) -> UpstreamConnection:
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(sock, where)
            connection = UpstreamConnection(self, address, sock)
            await self._loop.create_connection(
                lambda: cast(Any, connection), sock=sock, ssl=address.tls, server_hostname=address.server_name
            )
        except BaseException:
            sock.close()
            raise
        return connection


def upstream_context(spec: ServiceSpec) -> ssl.SSLContext:
    """Verified TLS 1.2 or newer; the system's roots unless the service names its own."""
    context = ssl.create_default_context(cafile=spec.tls_ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if spec.tls_certificate:
        context.load_cert_chain(spec.tls_certificate, spec.tls_key or None)
    return context
