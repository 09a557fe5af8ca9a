"""One caller's HTTP/1.1 connection: bytes to calls, answers to bytes.

The protocol's rules are in `http1` (no I/O there); this drives them over an asyncio transport. One
request is read at a time: what a caller pipelines waits, bounded, in the reader's buffer, and reading
pauses. Nothing of one request MUST reach the next on the same connection: every call begins from its
own head and the connection's `Peer`.
"""

from __future__ import annotations

import asyncio
import hashlib
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, cast

from interlock.gateway.call import Call
from interlock.gateway.http1 import END, NEED_DATA, Malformed, RequestHead, RequestReader
from interlock.gateway.http1.phrases import status_line
from interlock.model import PeerCertificate, Reason, Refusal

if TYPE_CHECKING:
    from interlock.gateway.listener import Listener
    from interlock.gateway.peer import Peer

BUFFERED: Final = 64 * 1024  # bytes of pipelined requests or unwanted body kept before reading pauses
HIGH_WATER: Final = 256 * 1024  # bytes of answer the caller has not taken before the upstream is paused
LINGER: Final = 2.0  # seconds to read and forget after a refusal, so that the caller gets to see it (RFC 9112 9.6)
LINGER_BYTES: Final = 8 * 1024 * 1024
LEAST_PROGRESS: Final = 1024  # bytes of body within `body_timeout` that count as progress
REQUESTS: Final = 100_000  # on one connection

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
CLOSE: Final = b"connection: close\r\n"
KEEP_ALIVE: Final = b"connection: keep-alive\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


class Http1Connection:
    """The `Stream` of each of its calls in turn; to the event loop, an `asyncio.Protocol` by its shape."""

    __slots__ = (
        "_begun",
        "_body_open",
        "_call",
        "_chunked",
        "_closing",
        "_held",
        "_http10",
        "_lingering",
        "_listener",
        "_needs_body",
        "_paused",
        "_peer",
        "_progress",
        "_reader",
        "_reading_body",
        "_reuse",
        "_served",
        "_since",
        "_stalled",
        "_transport",
        "closed",
    )

    def __init__(self, listener: Listener, peer: Peer) -> None:
        self._listener = listener
        self._peer = peer
        self._reader = RequestReader(listener.limits)
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._held = b""  # an answer's head waiting for the first bytes of its body
        self._chunked = False
        self._http10 = False
        self._needs_body = True  # whether the answer may carry one
        self._reuse = True  # may serve another request after this one
        self._body_open = False  # the request body is not at its end
        self._reading_body = False
        self._paused = False
        self._closing = False
        self._lingering = 0  # bytes left to read and forget; 0: not lingering
        self._stalled = False  # the caller does not take what we write
        self._begun = False  # a head has begun to arrive
        self._since = 0.0  # when the present wait began; 0: nobody is waited for
        self._progress = 0
        self._served = 0
        self.closed = False

    @property
    def calling(self) -> bool:
        """Whether a call is in progress."""
        return self._call is not None

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self._since = self._listener.now()
        self._listener.opened(self, self._peer)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._forget(len(data))
            return
        self._reader.feed(data)
        if self._call is None:
            self._next_request()
            if not self._closing and self._reader.buffered > max(BUFFERED, self._listener.limits.head_size):
                self._pause()  # whole requests, which wait for their turn: a head that is still to come fits
        elif self._reading_body:
            self._progress += len(data)
            self._pump()
        elif self._reader.buffered > BUFFERED:
            self._pause()

    def eof_received(self) -> bool:
        if self._call is None or self._closing:
            return False
        if self._body_open:
            self._reuse = False
            call = self._call
            self._body_open = self._reading_body = False
            call.caller_gone()
            self.reset()
            return False
        self._reuse = False
        return self._peer.scheme == "http"  # half-closed: it still waits for its answer

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._closing = True
        self._listener.closed(self, self._peer)
        call, self._call = self._call, None
        if call is not None:
            call.caller_gone()

    def pause_writing(self) -> None:
        self._stalled = True
        self._since = self._listener.now()
        if self._call is not None:
            self._call.caller_full()

    def resume_writing(self) -> None:
        self._stalled = False
        if self._closing:
            self._since = self._listener.now()  # it took what was left; the wait for its end begins now
        elif self._call is not None:
            self._call.caller_drained()
        else:
            self._listener.loop.call_soon(self._next_request)

    # -- requests

    def _next_request(self) -> None:
        """Begin the next call, if its head is here and whole."""
        if self._call is not None or self._closing or self._stalled:
            return  # who does not take answers is not asked for more
        reader = self._reader
        try:
            head = reader.next()
            if head is NEED_DATA:
                begun = reader.buffered > 0
                if self._since == 0.0 or not begun or not self._begun:
                    self._since = self._listener.now()
                self._begun = begun
                self._resume()
                return
            assert isinstance(head, RequestHead)
            self._body_open = head.has_body
            if not head.has_body:
                reader.next()  # END
        except Malformed as problem:
            self._refuse(Refusal(problem.reason, (), problem.note))
            return
        self._served += 1
        self._since = 0.0
        self._begun = False
        self._http10 = head.http10
        self._needs_body = head.method != "HEAD"
        self._reuse = head.keep_alive and self._served < REQUESTS and not self._listener.draining
        pipeline = self._listener.pipeline
        call = Call(pipeline, self, self._peer, head, pipeline.monotonic())
        self._call = call
        try:
            pipeline.handle(call)
        except Exception:
            pipeline.failed(call)

    def _refuse(self, refusal: Refusal) -> None:
        """What arrived is no request: whatever follows is forgotten, and the connection ends."""
        self._reuse = self._body_open = self._http10 = False
        self._needs_body = True
        self._closing = True
        self._lingering = LINGER_BYTES
        self._since = self._listener.now()
        self._listener.pipeline.malformed(self, self._peer, refusal)

    def _finished(self) -> None:
        """The answer is out; the connection is free if the request, too, came to its end."""
        self._call = None
        if not self._reuse or self._body_open:
            self._close()
            return
        if self._reader.buffered:
            self._listener.loop.call_soon(self._next_request)
        else:
            self._since = self._listener.now()
            if self._paused:
                self._resume()

    # -- Stream: the request's body

    def read_body(self) -> None:
        if self._body_open and not self._reading_body:
            self._reading_body = True
            self._since = self._listener.now()
            self._resume()
            self._pump()

    def pause_body(self) -> None:
        self._reading_body = False
        if not self._stalled:
            self._since = 0.0

    def _pump(self) -> None:
        call = self._call
        reader = self._reader
        while self._reading_body and call is not None and call is self._call:
            try:
                event = reader.next()
            except Malformed as problem:
                self._reuse = self._body_open = self._reading_body = False
                call.request_broken(Refusal(problem.reason, (), problem.note))
                return
            if event is NEED_DATA:
                return
            if event is END:
                self._body_open = self._reading_body = False
                if not self._stalled:
                    self._since = 0.0
                call.request_end()
                return
            assert isinstance(event, bytes)
            call.request_body(event)
        if self._reader.buffered > BUFFERED:
            self._pause()

    # -- Stream: the answer

    def send_head(self, status: int, phrase: bytes, fields: list[bytes], length: int) -> None:
        parts = [status_line(status, phrase)]
        parts += fields
        self._chunked = False
        if not self._needs_body or status == 304:
            self._needs_body = False
            if length >= 0:
                parts.append(b"content-length: %d\r\n" % length)
        elif status == 204:
            self._needs_body = False
        elif length >= 0:
            parts.append(b"content-length: %d\r\n" % length)
        elif self._http10:
            self._reuse = False
        else:
            self._chunked = True
            parts.append(CHUNKED)
        if self._body_open:
            self._reuse = False  # answered before it was asked to the end: nobody should wait for the rest
        if not self._reuse:
            parts.append(CLOSE)
        elif self._http10:
            parts.append(KEEP_ALIVE)
        parts.append(b"\r\n")
        self._held = b"".join(parts)

    def send_informational(self, status: int, fields: list[bytes]) -> None:
        if self._http10 or self._transport is None or self.closed:
            return
        if status == 100:
            if self._reader.buffered == 0:  # a caller that did not wait needs no leave
                self._transport.write(CONTINUE)
        else:
            self._transport.write(status_line(status, b"") + b"".join(fields) + b"\r\n")

    def send_body(self, data: bytes) -> None:
        if self.closed or not self._needs_body:
            return
        assert self._transport is not None
        held, self._held = self._held, b""
        if self._chunked:
            self._transport.write(b"%b%x\r\n%b\r\n" % (held, len(data), data))
        else:
            self._transport.write(held + data if held else data)

    def flush(self) -> None:
        """The body takes its time: let the head go."""
        if self._held and not self.closed:
            assert self._transport is not None
            self._transport.write(self._held)
            self._held = b""

    def send_end(self) -> None:
        if self.closed:
            return
        assert self._transport is not None
        held, self._held = self._held, b""
        if self._chunked:
            self._transport.write(held + LAST_CHUNK)
        elif held:
            self._transport.write(held)
        self._finished()

    def send_whole(self, status: int, fields: list[bytes], body: bytes) -> None:
        if self.closed:
            return
        assert self._transport is not None
        self._skip_body()
        if self._body_open:
            self._reuse = False
        parts = [status_line(status, b""), b"date: %b\r\n" % formatdate(usegmt=True).encode()]
        parts += fields
        if status != 204:
            parts.append(b"content-length: %d\r\n" % len(body))
        if not self._reuse:
            parts.append(CLOSE)
        elif self._http10:
            parts.append(KEEP_ALIVE)
        parts.append(b"\r\n")
        if self._needs_body:
            parts.append(body)
        self._held = b""
        self._transport.write(b"".join(parts))
        self._finished()

    def end_after(self) -> None:
        self._reuse = False

    def reset(self) -> None:
        self._reuse = False
        call, self._call = self._call, None
        self._closing = True
        if self._transport is not None and not self.closed:
            self._transport.abort()
        if call is not None:
            call.caller_gone()

    def _skip_body(self) -> None:
        """Read and forget what is already here of a refused request's body; do not wait for more."""
        self._reading_body = False
        try:
            while self._body_open:
                event = self._reader.next()
                if event is NEED_DATA:
                    return
                if event is END:
                    self._body_open = False
        except Malformed:
            self._reuse = False

    # -- closing and waiting

    def drain(self) -> None:
        """Serve no further request: at once if idle, else after the present one."""
        self._reuse = False
        if self._call is None and not self._closing:
            self._close()

    def _close(self) -> None:
        """Close so that the caller can still read the answer (RFC 9112 section 9.6)."""
        self._closing = True
        self._call = None
        transport = self._transport
        if transport is None or self.closed:
            return
        if self._peer.scheme == "http" and transport.can_write_eof():
            self._lingering = LINGER_BYTES
            self._since = self._listener.now()
            transport.write_eof()
            self._resume()
        else:
            transport.close()

    def _forget(self, size: int) -> None:
        self._lingering -= size
        if self._lingering <= 0 and self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    def sweep(self, now: float) -> None:
        """Once a second: is the caller too slow for what it is waited for?"""
        call = self._call
        waited = now - self._since if self._since else 0.0
        times = self._listener.times
        if self._closing:
            transport = self._transport
            if transport is not None and waited > (times.body if transport.get_write_buffer_size() else LINGER):
                transport.abort()
            return
        if self._stalled:
            if waited > times.body:
                self.reset()
                return
        elif self._reading_body:
            if self._progress >= LEAST_PROGRESS:
                self._progress = 0
                self._since = now
            elif waited > times.body and call is not None:
                self._reuse = self._reading_body = False
                call.request_broken(Refusal(Reason.REQUEST_TIMEOUT, (), "body"))
                return
        elif call is None:
            if self._reader.buffered:
                if waited > times.head:
                    self._refuse(Refusal(Reason.REQUEST_TIMEOUT, (), "head"))
                return
            if waited > times.idle:
                self._close()
            return
        if call is not None:
            call.sweep(now)


class TlsConnection(Http1Connection):
    """A connection whose peer is completed by the handshake."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        if der:
            self._peer.certificate = PeerCertificate(der, hashlib.sha256(der).digest())
            self._peer.resumed = bool(tls.session_reused)
        self._listener.meter.shaken()
        super().connection_made(transport)
