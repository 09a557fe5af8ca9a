"""Accepts connections itself, so that budgets and failed handshakes are seen and recorded.

`create_server(ssl=...)` tells nobody of a refused client certificate and counts nothing. Here each socket
is accepted from the supervisor's listening socket, held against the budgets, under TLS looked at
(ClientHello, without consuming it) and only then given to the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, cast

from interlock.addresses import unmapped
from interlock.gateway.connection import Http1Connection, TlsConnection
from interlock.gateway.hello import HELLO_BYTES, NO_HELLO, Incomplete, fingerprint, server_name
from interlock.gateway.http1 import ReadLimits
from interlock.gateway.peer import Peer, network_of
from interlock.gateway.tls import Certificates, answering
from interlock.model import Reason
from interlock.snapshot import ConnectionSpec

if TYPE_CHECKING:
    from interlock.gateway.meter import Meter
    from interlock.gateway.pipeline import Pipeline

log = logging.getLogger("interlock.gateway")

ACCEPTS = 64  # connections taken from the backlog before others get their turn
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_PAUSE = 0.2  # seconds before somebody is accepted again when there was nothing left to do it with
HELLO_PAUSE = 0.01  # seconds before the second look at a ClientHello that comes in pieces; then ever longer
HELLO_PAUSE_MOST = 0.5
HANDSHAKE_TIMEOUT = 10.0


class Times:
    """How long, in seconds, a caller may take."""

    __slots__ = ("body", "head", "idle")

    def __init__(self, spec: ConnectionSpec) -> None:
        self.head = spec.header_timeout_ns / 1e9
        self.body = spec.body_timeout_ns / 1e9
        self.idle = spec.idle_timeout_ns / 1e9


class Budgets:
    """Connections and handshakes of one worker, all and per source network."""

    def __init__(self, spec: ConnectionSpec) -> None:
        self.spec = spec
        self.connections = 0
        self.handshakes = 0
        self._networks: dict[bytes, int] = {}
        self._shaking: dict[bytes, int] = {}

    def connection(self, network: bytes) -> bool:
        """Take one; False if the worker or the network has none left."""
        held = self._networks.get(network, 0)
        if self.connections >= self.spec.per_worker or held >= self.spec.per_address:
            return False
        self.connections += 1
        self._networks[network] = held + 1
        return True

    def release(self, network: bytes) -> None:
        self.connections -= 1
        _less(self._networks, network)

    def handshake(self, network: bytes) -> bool:
        """Take one; a single network gets at most a quarter of them."""
        held = self._shaking.get(network, 0)
        if self.handshakes >= self.spec.handshakes or held >= max(1, self.spec.handshakes // 4):
            return False
        self.handshakes += 1
        self._shaking[network] = held + 1
        return True

    def shaken(self, network: bytes) -> None:
        self.handshakes -= 1
        _less(self._shaking, network)


def _less(counts: dict[bytes, int], network: bytes) -> None:
    left = counts.get(network, 0) - 1
    if left > 0:
        counts[network] = left
    else:
        counts.pop(network, None)


class Listener:
    """One listening socket of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        pipeline: Pipeline,
        budgets: Budgets,
        limits: ReadLimits,
        trusted: Callable[[], list[IPv4Network | IPv6Network]],
        certificates: Certificates | None,
        meter: Meter,
    ) -> None:
        self.loop = loop
        self.now = loop.time
        self.pipeline = pipeline
        self.budgets = budgets
        self.limits = limits
        self.times = Times(budgets.spec)
        self.certificates = certificates
        self.meter = meter
        self.draining = False
        self.connections: set[Http1Connection] = set()
        self._socket = sock
        self._trusted = trusted
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._socket.setblocking(False)
        self._listen()

    def drain(self) -> None:
        """Take no new connection; the kernel's queue stays with the socket, which the supervisor keeps."""
        self.draining = True
        self.loop.remove_reader(self._socket.fileno())
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        for connection in list(self.connections):
            connection.reset()

    def sweep(self, now: float) -> None:
        for connection in list(self.connections):
            try:
                connection.sweep(now)
            except Exception:  # a fault of ours, with one: it holds up neither the others nor the worker's sign of life
                log.exception("a connection failed inside and is given up")
                connection.reset()

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return sum(connection.calling for connection in self.connections)

    # -- a connection's life, as it tells

    def opened(self, connection: Http1Connection, peer: Peer) -> None:
        peer.opened = True
        self.connections.add(connection)

    def closed(self, connection: Http1Connection, peer: Peer) -> None:
        self.connections.discard(connection)
        self.budgets.release(peer.network)

    # -- accepting

    def _listen(self) -> None:
        if not self.draining:
            self.loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, where = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno in EXHAUSTED:  # the caller stays in the kernel's queue and would wake us at once
                    self.loop.remove_reader(self._socket.fileno())
                    self.loop.call_later(ACCEPT_PAUSE, self._listen)
                return
            ip = unmapped(where[0])
            network = network_of(ip)
            if not self.budgets.connection(network):
                self.pipeline.refuse_connection(str(ip), Reason.TOO_MANY_CONNECTIONS, "")
                sock.close()
                continue
            self.meter.connected()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve = self._serve_tls if self.certificates else self._serve
            task = self.loop.create_task(serve(sock, where[0], network))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_trusted(self, address: str) -> bool:
        ip = unmapped(address)
        return any(ip in network for network in self._trusted())

    async def _serve(self, sock: socket.socket, address: str, network: bytes) -> None:
        peer = Peer(address, trusted=self._is_trusted(address))
        try:
            await self.loop.connect_accepted_socket(lambda: _protocol(Http1Connection(self, peer)), sock)
        except OSError:
            sock.close()
            if not peer.opened:
                self.budgets.release(network)

    async def _serve_tls(self, sock: socket.socket, address: str, network: bytes) -> None:
        certificates = self.certificates
        assert certificates is not None
        peer = Peer(address, scheme="https", trusted=self._is_trusted(address))
        if not self.budgets.handshake(network):
            sock.close()
            self.budgets.release(network)
            self.pipeline.refuse_connection(peer.address, Reason.TOO_MANY_CONNECTIONS, "handshakes in progress")
            return
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                hello = await self._hello(sock)
                peer.server_name, peer.program = server_name(hello), fingerprint(hello)
                peer.shown(certificates.entry)
                with answering(sock):
                    await self.loop.connect_accepted_socket(
                        lambda: _protocol(TlsConnection(self, peer)), sock, ssl=certificates.base
                    )
        except (OSError, ssl.SSLError, TimeoutError) as problem:
            reason, note = _handshake_failure(problem)
            self.pipeline.refuse_connection(peer.address, reason, note, peer.server_name)
            sock.close()
            if not peer.opened:  # else `closed` gives it back
                self.budgets.release(network)
        finally:
            self.budgets.shaken(network)

    async def _hello(self, sock: socket.socket) -> bytes:
        """Wait for the ClientHello and look at it; it stays in the socket for OpenSSL. Empty if it is too long."""
        readable: asyncio.Future[None] = self.loop.create_future()

        def ready() -> None:
            if not readable.done():
                readable.set_result(None)

        self.loop.add_reader(sock.fileno(), ready)
        try:
            await readable
        finally:
            self.loop.remove_reader(sock.fileno())
        seen = 0
        pause = HELLO_PAUSE
        while True:
            data = sock.recv(HELLO_BYTES, socket.MSG_PEEK)
            if not data:
                raise ConnectionResetError("closed before the ClientHello")
            if len(data) > seen:
                seen = len(data)
                try:
                    server_name(data)
                    return data
                except Incomplete:
                    if seen >= HELLO_BYTES:
                        return NO_HELLO
            await asyncio.sleep(pause)
            pause = min(2 * pause, HELLO_PAUSE_MOST)


def _protocol(connection: Http1Connection) -> asyncio.Protocol:
    """The same; it has the shape of one without being derived from it, so that it can be compiled."""
    return cast("asyncio.Protocol", connection)


def _handshake_failure(problem: BaseException) -> tuple[Reason, str]:
    if isinstance(problem, TimeoutError):
        return Reason.TLS_TIMEOUT, ""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Reason.TLS_CERTIFICATE, problem.verify_message
    if isinstance(problem, ssl.SSLError):
        reason = problem.reason or type(problem).__name__
        return (Reason.TLS_CERTIFICATE if "CERT" in reason else Reason.TLS_HANDSHAKE), reason
    return Reason.TLS_HANDSHAKE, type(problem).__name__
