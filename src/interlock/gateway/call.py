"""One call: what is known of it, and its conversation with the system behind.

A call stands between two protocols and knows neither: the caller's side is a `Stream` (HTTP/1.1 today),
the upstream's side speaks to it as an `Exchange`. It ends exactly once, in `_finish`, which puts the
outcome on the record; a call without an intent on the record MUST NOT reach `forward`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from interlock.gateway.fields import response_fields
from interlock.gateway.http1 import RequestHead, ResponseHead
from interlock.model import ANONYMOUS, Identity, Reason, Refusal

if TYPE_CHECKING:
    from interlock.audit import RecordId
    from interlock.gateway.paths import Target
    from interlock.gateway.peer import Peer
    from interlock.gateway.pipeline import Pipeline
    from interlock.gateway.route import Route
    from interlock.gateway.upstream import UpstreamConnection
    from interlock.identity import Possession

MINUTE: Final = 60.0


class Stream(Protocol):
    """The caller's side of one call, whatever the protocol."""

    def send_head(self, status: int, phrase: bytes, fields: list[bytes], length: int) -> None:
        """Begin the answer; `length` is the body's, -1 if it is not known.

        `fields` are complete lines (`name: value CRLF`) without framing, which is the stream's own.
        """
        ...

    def send_informational(self, status: int, fields: list[bytes]) -> None: ...

    def send_body(self, data: bytes) -> None: ...

    def send_end(self) -> None: ...

    def flush(self) -> None:
        """More will come later: hold nothing back."""
        ...

    def send_whole(self, status: int, fields: list[bytes], body: bytes) -> None:
        """A complete answer of our own."""
        ...

    def end_after(self) -> None:
        """Close the connection after this answer."""
        ...

    def reset(self) -> None:
        """Break off so that the caller cannot take what it got for whole."""
        ...

    def read_body(self) -> None:
        """Give (more of) the request body to `request_body` and `request_end`."""
        ...

    def pause_body(self) -> None: ...


class Call:
    """One request and its fate. Created for each call, so it holds slots and no more."""

    __slots__ = (
        "_connection",
        "_ended",
        "_gathered",
        "_head_sent",
        "active",
        "answer_fields",
        "bytes_in",
        "bytes_out",
        "deadline",
        "head",
        "identity",
        "intent",
        "judged",
        "method",
        "own_answer",
        "params",
        "peer",
        "pipeline",
        "possession",
        "progressed",
        "reference",
        "replayable",
        "route",
        "source",
        "started",
        "status",
        "stream",
        "target",
        "trace",
        "upstream",
        "wire_bytes",
    )

    def __init__(self, pipeline: Pipeline, stream: Stream, peer: Peer, head: RequestHead, started: int) -> None:
        self.pipeline = pipeline
        self.stream = stream
        self.peer = peer
        self.head = head
        self.method = head.method
        self.started = started  # monotonic ns
        self.source = peer.address
        self.route: Route | None = None
        self.target: Target | None = None
        self.params: Mapping[str, str] = {}
        self.identity: Identity = ANONYMOUS
        self.possession: Possession | None = None  # what is shown of a token's key, and whether that was accepted
        self.intent: RecordId | None = None
        self.reference = ""  # the record's id
        self.trace = ""
        self.upstream = ""  # the address that answers it
        self.wire_bytes = b""  # the request head for the upstream
        self.answer_fields: list[bytes] = []  # what layers add to the answer
        self.own_answer: tuple[int, list[bytes]] | None = None  # instead of forwarding
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.active = False
        self.deadline = 0.0
        self.progressed = 0.0
        self.judged = -1  # the epoch when it was last asked whether it may go on
        self.replayable = False
        self._connection: UpstreamConnection | None = None
        self._gathered: list[bytes] | None = None  # of a body that is sent with the head, once it is whole
        self._ended = False
        self._head_sent = False

    @property
    def ended(self) -> bool:
        return self._ended

    # -- from the recorder

    def forward(self) -> None:
        """The intent is on the record as the route asks: now, and only now, the call may pass."""
        try:
            self._forward()
        except Exception as problem:  # others wait for the same write; none of them MUST suffer for this one
            self.pipeline.complain(self, problem)
            self.abort(Reason.INTERNAL, type(problem).__name__)

    def _forward(self) -> None:
        if self._ended:
            return
        if self.own_answer is not None:
            status, fields = self.own_answer
            self._finish(status, None, "")
            self.stream.send_whole(status, fields, b"")
            return
        route = self.route
        assert route is not None
        self.replayable = not self.head.has_body and self.method in ("GET", "HEAD", "OPTIONS")
        self.active = True
        if route.own and self.head.has_body:
            # A slow caller MUST NOT hold what others need to sign in: there are few connections to a part of our own.
            self._gathered = []
            if self.head.expect_continue:
                self.stream.send_informational(100, [])
            self.stream.read_body()
        else:
            route.pool.acquire(self)

    def unrecorded(self) -> None:
        """The intent could not be written: nothing passes."""
        if not self._ended:
            self._ended = True
            self.pipeline.unrecorded(self)

    def unsynced(self) -> None:
        """The intent is written but not on disk, as its route asks: nothing passes, and that is recorded."""
        self._fail(Reason.RECORD_UNAVAILABLE, "the disk did not confirm")

    # -- from the caller's side

    def request_body(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self.active = True
        if self.route is None or (self._connection is None and self._gathered is None):
            return
        if self.bytes_in > self.route.body_limit:
            self.request_broken(Refusal(Reason.BODY_TOO_LARGE))
            return
        if self._gathered is not None:
            self._gathered.append(data)
            return
        assert self._connection is not None
        if self.head.content_length >= 0:
            self._connection.write(data)
        else:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))

    def request_end(self) -> None:
        if self._gathered is not None:
            self._gathered_whole(b"".join(self._gathered))
            return
        connection = self._connection
        if connection is not None:
            connection.sent_all = True
            if self.head.chunked:
                connection.write(b"0\r\n\r\n")

    def _gathered_whole(self, body: bytes) -> None:
        """Now it may pass."""
        if self._ended or self.route is None:
            return
        if self.head.chunked:
            body = (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)) if body else b"0\r\n\r\n"
        self.wire_bytes += body
        self.route.pool.acquire(self)

    def request_broken(self, refusal: Refusal) -> None:
        """The body broke the rules, or took too long, after the head was forwarded."""
        self._drop_connection()
        self._fail(refusal.reason, refusal.note)

    def caller_gone(self) -> None:
        self._drop_connection()
        self._finish(Reason.CLIENT_GONE.status if not self._head_sent else self.status, Reason.CLIENT_GONE, "")

    def caller_full(self) -> None:
        if self._connection is not None:
            self._connection.pause_answer()

    def caller_drained(self) -> None:
        if self._connection is not None:
            self._connection.resume_answer()

    # -- from the upstream's side

    def connected(self, connection: UpstreamConnection) -> None:
        if self._ended:  # the caller went away meanwhile
            connection.abandon()
            return
        self._connection = connection
        self.upstream = connection.address.name
        connection.write(self.wire_bytes)
        if self.head.has_body and self._gathered is None:
            if self.head.expect_continue:
                self.stream.send_informational(100, [])
            self.stream.read_body()
        else:
            connection.sent_all = True

    def unconnected(self, reason: Reason, note: str) -> None:
        self._fail(reason, note)

    def answer_head(self, head: ResponseHead) -> None:
        self.active = True
        if head.status < 200:
            if head.status != 100:
                self.stream.send_informational(head.status, head.fields)
            return
        self.status = head.status
        self._head_sent = True
        route = self.route
        fields = response_fields(head, own_cors=route is not None and route.cors is not None)
        if self.answer_fields:
            fields = fields + self.answer_fields
        self.stream.send_head(head.status, head.phrase, fields, head.content_length)

    def answer_body(self, data: bytes) -> None:
        self.active = True
        self.bytes_out += len(data)
        self.stream.send_body(data)

    def answer_waiting(self) -> None:
        self.stream.flush()

    def answered(self) -> None:
        self._connection = None
        if self._ended:
            return
        self._finish(self.status, None, "")
        self.stream.send_end()

    def broken(self, reason: Reason, note: str) -> None:
        self._connection = None
        self._fail(reason, note)

    def upstream_full(self) -> None:
        self.stream.pause_body()

    def upstream_drained(self) -> None:
        if self._connection is not None and not self._connection.sent_all:
            self.stream.read_body()

    # -- the end

    def sweep(self, now: float) -> None:
        """Once a second: has the upstream been silent for too long; does a long call still hold?"""
        route = self.route
        if route is None or self._ended:
            return
        if self.active:
            self.active = False
            self.deadline = now + route.timeout
        elif now > self.deadline > 0:
            self._drop_connection()
            self._fail(Reason.UPSTREAM_TIMEOUT, "no byte within the route's timeout")
            return
        if self.progressed == 0:
            self.progressed = now
        elif now - self.progressed >= MINUTE:
            self.progressed = now
            self.pipeline.recheck(self)
            return
        if self.intent is not None and self.own_answer is None:
            self.pipeline.follow(self)

    def abort(self, reason: Reason, note: str) -> None:
        """A guard changed its mind while the call was under way."""
        self._drop_connection()
        self._fail(reason, note)

    def _fail(self, reason: Reason, note: str) -> None:
        if self._ended:
            return
        if self._head_sent:
            self._finish(self.status, Reason.ABORTED if reason is Reason.INTERNAL else reason, note)
            self.stream.reset()
        else:
            self._finish(reason.status, reason, note)
            self.pipeline.answer_refusal(self, Refusal(reason))

    def _finish(self, status: int, reason: Reason | None, note: str) -> None:
        if self._ended:
            return
        self._ended = True
        self.status = status
        self.pipeline.outcome(self, status, reason, note)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        elif self.route is not None and self.intent is not None:
            self.route.pool.cancel(self)
