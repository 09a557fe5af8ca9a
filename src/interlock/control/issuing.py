"""Serves the authorization server to the workers, on `run/issuer.sock`.

Workers have admitted, limited and recorded each call before it comes here, by HTTP/1.1 over connections of their own;
whoever else could open the socket is this user, who could do as much anyway. What came in one turn of the event loop
is answered together in the next: the state is looked at once, and the record written once, for all of it. What waits
for the disk or for a password's hash runs in threads of its own, few and bounded, so that tokens for machines never
wait for it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, cast

from interlock.control.signals.receiver import PATH as SIGNALS
from interlock.gateway.http1 import END, NEED_DATA, Malformed, RequestHead, RequestReader, status_line
from interlock.issuer.app import endpoint_of, handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import NOW, Request, Response
from interlock.issuer.means import Answer
from interlock.issuer.service import Issuer
from interlock.snapshot.address import socket_name

log = logging.getLogger("interlock.issuer")

SOCKET = "issuer.sock"
BODY = 1024 * 1024  # bytes; a request is a form or a small document
BUFFERED = 64 * 1024  # bytes that may come while a request is answered; no worker sends any
DRAIN = 5.0  # seconds that requests may still take when the process ends
THREADS = 8
WAITING = 256  # requests that wait for a thread; more are told to come again
BUSY = Response(
    503, (("content-type", "application/json"), ("retry-after", "1")), b'{"error":"temporarily_unavailable"}'
)
FAULT = Response(500, (("content-type", "application/json"),), b'{"error":"server_error"}')
_FIELD = re.compile(r"[\t -~\x80-\xff]*")
BROKEN = Response(400, (("content-type", "application/json"),), b'{"error":"invalid_request"}')


Done = Callable[[Response], None]


class Holds(Protocol):
    """A recorder that writes what is noted between `hold` and `release` together; see `audit.ActRecorder`."""

    @property
    def held(self) -> int:
        """How many notes wait."""
        ...

    def hold(self) -> None: ...

    def release(self) -> None:
        """Raises `RecordUnavailable`: then nothing of it may be given out."""
        ...


class IssuerServer:
    """Listens until closed. `issuer()` gives the present one, or None where the file names none."""

    def __init__(
        self,
        run_dir: Path,
        issuer: Callable[[], Issuer | None],
        path: Callable[[], str],
        record: Callable[[], Holds],
    ) -> None:
        """`path()`: that of the issuer's URL, in front of its endpoints'; `record()`: where the issuer's acts go."""
        self.receive: Callable[[Request], Response] | None = None  # signals of others, also without an issuer of ours
        self._socket = run_dir / SOCKET
        self.issuer = issuer
        self.path = path
        self._server: asyncio.Server | None = None
        self._threads = ThreadPoolExecutor(THREADS, "issuer")
        self._waiting = 0
        self._record = record
        self._asked: list[tuple[Request, Done]] = []  # in this turn of the event loop
        self.connections: set[Connection] = set()

    async def start(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with socket_name(self._socket) as name:
                sock.bind(name)
        finally:
            os.umask(before)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(self), sock=sock)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._socket.unlink(missing_ok=True)
        for connection in list(self.connections):
            connection.drain()
        until = time.monotonic() + DRAIN
        while self.connections and time.monotonic() < until:  # who has asked is answered
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def ask(self, request: Request, done: Done) -> None:
        """Have a request answered, in the next turn of the event loop."""
        self._asked.append((request, done))
        if len(self._asked) == 1:
            asyncio.get_running_loop().call_soon(self.turn)

    def turn(self) -> None:
        """Answer what was asked: now, or by a thread if it waits for something."""
        asked, self._asked = self._asked, []
        if not asked:
            return
        issuer = self.issuer()
        quick: list[tuple[Request, Done]] = []
        for request, done in asked:
            if request.path == SIGNALS and self.receive is not None:
                self._in_thread(partial(self.receive, request), request, done)
            elif issuer is None:
                done(BUSY)
            elif (endpoint := endpoint_of(request.path)) is None or not endpoint.slow(request):
                quick.append((request, done))
            else:
                self._in_thread(partial(handle, issuer, request), request, done)
        if quick and issuer is not None:
            self._at_once(issuer, quick)

    def _at_once(self, issuer: Issuer, asked: list[tuple[Request, Done]]) -> None:
        """Nothing is given out before what was noted of it is on the record. What fails fails alone."""
        record = self._record()
        answers: list[tuple[Answer, Done, bool]] = []  # and whether anything was noted
        record.hold()
        begun = time.monotonic_ns()
        for request, done in asked:
            request.begun = begun
            held = record.held
            try:
                answer = handle(issuer, request)
            except NotYet as problem:
                self._again(request, done, problem.wait)
                continue
            except BaseException:  # `handle` answers for every `Exception`
                log.exception("%s failed inside", request.path)
                answer = FAULT
            answers.append((answer, done, record.held != held))
        written = True
        try:
            record.release()
        except Exception as problem:
            log.error("what the issuer did is not on the record: %s", problem)
            written = False
        for answer, done, noted in answers:
            try:
                self._settle(answer if written or not noted else BUSY, done)
            except Exception:
                log.exception("an answer could not be sent")

    def _in_thread(self, work: Callable[[], Answer], request: Request, done: Done) -> None:
        if self._waiting >= WAITING:
            done(BUSY)
            return
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as problem:  # there can be no more threads
            log.error("no thread for %s: %s", request.path, problem)
            done(BUSY)
            return
        self._waiting += 1

        def ended(future: asyncio.Future[Answer]) -> None:
            self._waiting -= 1
            problem = None if future.cancelled() else future.exception()
            if isinstance(problem, NotYet):
                self._again(request, done, problem.wait)
            elif future.cancelled() or problem is not None:
                done(BUSY)
            else:
                self._settle(future.result(), done)

        future.add_done_callback(ended)

    def _settle(self, answer: Answer, done: Done) -> None:
        """A response is given at once, the promise of one when it is kept."""
        if isinstance(answer, Response):
            done(answer)
            return
        loop = asyncio.get_running_loop()

        def kept(future: Future[Response]) -> None:
            broken = future.cancelled() or future.exception() is not None
            loop.call_soon_threadsafe(done, BUSY if broken else future.result())

        answer.add_done_callback(kept)

    def _again(self, request: Request, done: Done, wait: float) -> None:
        """When the clock has left the second of a revocation."""

        def ask() -> None:
            request.now, request.begun = self.wall(), NOW
            self.ask(request, done)

        asyncio.get_running_loop().call_later(wait, ask)

    def wall(self) -> int:
        issuer = self.issuer()
        return time.time_ns() if issuer is None else issuer.clock.wall()


class Connection(asyncio.Protocol):
    """One worker's connection: a request at a time."""

    def __init__(self, server: IssuerServer) -> None:
        self._server = server
        self._reader = RequestReader()
        self._head: RequestHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._busy = False
        self._last = False  # nothing more is read
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def drain(self) -> None:
        """Close when the request that is being answered has its answer."""
        self._last = True
        if not self._busy:
            self.close()

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        self._reader.feed(data)
        if not self._busy:
            self._read()
        elif self._reader.buffered > BUFFERED:
            self.close()

    def _read(self) -> None:
        try:
            while not self._busy:
                event = self._reader.next()
                if event is NEED_DATA:
                    return
                if event is END:
                    self._ask()
                elif isinstance(event, bytes):
                    self._size += len(event)
                    if self._size > BODY:
                        self._answer(Response(413, BROKEN.fields, BROKEN.body), last=True)
                        return
                    self._body.append(event)
                elif isinstance(event, RequestHead):
                    self._head, self._body, self._size = event, [], 0
        except Malformed:
            self._answer(BROKEN, last=True)

    def _ask(self) -> None:
        head = self._head
        assert head is not None
        self._busy = True
        try:
            request = read_request(head, b"".join(self._body), self._server.path(), self._server.wall())
        except ValueError:
            self._answered(BROKEN)
            return
        self._server.ask(request, self._answered)

    def _answered(self, response: Response) -> None:
        self._busy = False
        self._answer(response, last=self._last)
        if not self._last and self._transport is not None and self._reader.buffered:
            asyncio.get_running_loop().call_soon(self._read)

    def _answer(self, response: Response, *, last: bool = False) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            fields = _lines(response.fields)
        except ValueError as problem:
            log.error("an answer with a header field that cannot be sent: %s", problem)
            response, fields = FAULT, _lines(FAULT.fields)
        head = self._head is not None and self._head.method == "HEAD"
        transport.write(
            b"%b%bcontent-length: %d\r\n\r\n%b"
            % (
                status_line(response.status),
                fields,
                len(response.body),
                b"" if head else response.body,
            )
        )
        if last:
            self._last = True
            transport.close()


@lru_cache(512)
def _lines(fields: tuple[tuple[str, str], ...]) -> bytes:
    """Header fields as they are sent; `ValueError` for a value that would be more than one line."""
    for name, value in fields:
        if not _FIELD.fullmatch(value):
            raise ValueError(name)
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


def read_request(head: RequestHead, body: bytes, prefix: str, now: int) -> Request:
    """The request as the issuer takes it; `ValueError` for what no worker of ours would send."""
    path, _, query = head.target.decode("ascii").partition("?")
    fields: dict[str, str] = {}
    for name, value in head.headers:
        text = value.decode("latin-1")
        key = name.decode("ascii")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    try:
        certificate = base64.b64decode(fields.pop("interlock-certificate", ""), validate=True)
    except binascii.Error:
        raise ValueError("a certificate that cannot be read") from None
    return Request(
        head.method,
        _within(path, prefix),
        query=query,
        headers=fields,
        body=body,
        source=fields.pop("interlock-source", ""),
        certificate=certificate,
        now=now,
        call=fields.get("traceparent", "")[3:35],
    )


def _within(path: str, prefix: str) -> str:
    """The path without that of the issuer's URL, which stands before an endpoint's and, of OAuth's metadata, after."""
    if not prefix:
        return path
    if path.startswith(("/.well-known/oauth-", "/.well-known/ssf-")):
        return path.removesuffix(prefix)
    return path.removeprefix(prefix)
