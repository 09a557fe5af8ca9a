"""A connection's bytes, read one message at a time.

`feed` only stores; `next` gives the next event: a head, a piece of body, `END`, or `NEED_DATA`. Nothing past
the present message is looked at before it is asked for, so what a peer pipelines stays unread bytes. After
`Malformed` the position of the next message is unknown: the reader raises it again for ever.

Peers say the same again on one connection: a client asks once more, a server answers as a moment ago. A head whose
bytes are those of the one before is that one, of which nothing is changed once it is read.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from interlock.gateway.http1.body import BodyDecoder, ChunkedBody, LengthBody, UntilClose
from interlock.gateway.http1.head import RequestHead, check_request_start, parse_request_head
from interlock.gateway.http1.limits import REQUEST_LIMITS, RESPONSE_LIMITS, ReadLimits
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.response import ResponseHead, parse_response_head
from interlock.model import Reason


class Signal(Enum):
    """Events that carry nothing."""

    END = "end"  # the message is complete
    NEED_DATA = "need data"


END: Final = Signal.END
NEED_DATA: Final = Signal.NEED_DATA
Signals = Literal[Signal.END, Signal.NEED_DATA]

_AGAIN: Final = 2048  # bytes of the longest head that is kept for when it comes again

# What the reader waits for.
_HEAD, _EMPTY, _BODY, _LAST, _DONE = range(5)


class _Reader:
    """What both directions share: the buffer and the body."""

    __slots__ = ("_body", "_buffer", "_ended", "_limits", "_problem", "_scanned", "_state")

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._buffer = b""
        self._state = _HEAD
        self._body: BodyDecoder | None = None
        self._scanned = 0  # bytes of the buffer known to hold no end of a head
        self._ended = False  # the peer will send no more
        self._problem: Malformed | None = None

    @property
    def buffered(self) -> int:
        """Bytes that arrived and were not yet given out."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Store what arrived; after `Malformed`, forget it."""
        if self._problem is None:
            self._buffer = self._buffer + data if self._buffer else data

    def feed_eof(self) -> None:
        """The peer has ended its side; `next` will tell whether it may."""
        self._ended = True

    def _fail(self, problem: Malformed) -> Malformed:
        self._problem = Malformed(problem.reason, problem.note)  # a copy, which holds on to no frames
        self._buffer = b""
        return problem

    def _raw_head(self) -> bytes | None:
        """The next head's bytes, taken from the buffer; None while it has not arrived whole."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            if len(buffer) > self._limits.head_size:
                raise Malformed(Reason.HEAD_TOO_LARGE, "bytes")
            start = self._scanned
            self._scanned = max(0, len(buffer) - 3)
            _check_line_ends(buffer, start)
            return None
        end += 4
        self._scanned = 0
        if end > self._limits.head_size:
            raise Malformed(Reason.HEAD_TOO_LARGE, "bytes")
        if end == len(buffer):
            self._buffer = b""
            return buffer
        self._buffer = buffer[end:]
        return buffer[:end]

    def _next_body(self) -> bytes | Signals:
        """More of the body, its end, or that nothing of it is here."""
        if self._state == _LAST:
            self._state = _DONE
            return END
        data = self._buffer
        body = self._body
        assert body is not None
        if not data:
            if self._ended:
                body.feed_eof()
                self._state = _DONE
                return END
            return NEED_DATA
        self._buffer = b""
        payload, self._buffer, done = body.feed(data)
        if done:
            self._state = _LAST
        if payload:
            return payload[0] if len(payload) == 1 else b"".join(payload)
        if done:
            self._state = _DONE
            return END
        return self._next_body()


class RequestReader(_Reader):
    """Reads the requests of one connection, one after another."""

    __slots__ = ("_before", "_forgiven", "_raw")

    def __init__(self, limits: ReadLimits = REQUEST_LIMITS) -> None:
        super().__init__(limits)
        self._raw = b""
        self._before: RequestHead | None = None  # what `_raw` means
        self._forgiven = False  # an empty line came before the request

    def next(self) -> RequestHead | bytes | Signals:
        """The next event. Raises `Malformed`."""
        if self._problem is not None:
            raise Malformed(self._problem.reason, self._problem.note)
        try:
            state = self._state
            if state == _HEAD:
                return self._next_head()
            if state == _EMPTY:
                self._state = _HEAD
                return END
            if state == _DONE:
                self._state = _HEAD
                self._body = None
                return self._next_head()
            return self._next_body()
        except Malformed as problem:
            raise self._fail(problem) from None

    def _next_head(self) -> RequestHead | Signals:
        if self._buffer[:2] == b"\r\n":  # one is forgiven (RFC 9112 section 2.2)
            if self._forgiven:
                raise Malformed(Reason.MALFORMED_HEAD, "empty lines before the request")
            self._forgiven = True
            self._buffer = self._buffer[2:]
            return self._next_head()
        if not self._buffer:
            return NEED_DATA
        raw = self._raw_head()
        if raw is None:
            check_request_start(self._buffer, self._limits)
            if self._ended:
                raise Malformed(Reason.MALFORMED_HEAD, "ended within the head")
            return NEED_DATA
        self._forgiven = False
        before = self._before
        if before is not None and raw == self._raw:
            head = before
        else:
            head = parse_request_head(raw, self._limits)
            again = len(raw) <= _AGAIN and head.is_plain
            self._raw, self._before = (raw, head) if again else (b"", None)
        if head.chunked:
            self._state = _BODY
            self._body = ChunkedBody(self._limits)
        elif head.has_body:
            self._state = _BODY
            self._body = LengthBody(head.content_length)
        else:
            self._state = _EMPTY
        return head


class ResponseReader(_Reader):
    """Reads the answer to one request: any number of 1xx heads, the final head, its body, `END`.

    `reusable` tells, after `END`, whether the connection may carry another request.
    """

    __slots__ = ("_before", "_head", "_interim", "_method", "_raw")

    def __init__(self, request_method: str, limits: ReadLimits = RESPONSE_LIMITS) -> None:
        super().__init__(limits)
        self._raw = b""
        self._before: ResponseHead | None = None  # what `_raw` means, to any method but HEAD
        self._method = request_method
        self._head: ResponseHead | None = None
        self._interim = 0

    def begin(self, request_method: str) -> None:
        """Make ready for the answer to the next request. MUST be called only on a reader that is `reusable`."""
        self._method = request_method
        self._state = _HEAD
        self._body = self._head = None
        self._interim = 0

    @property
    def reusable(self) -> bool:
        """The answer ended where its framing said, nothing followed, and both sides keep the connection."""
        head = self._head
        return head is not None and head.keep_alive and self._state == _DONE and not self._buffer and not self._ended

    def next(self) -> ResponseHead | bytes | Signals:
        """The next event. Raises `Malformed`, always `UPSTREAM_INVALID` or `UPSTREAM_ABORTED`."""
        if self._problem is not None:
            raise Malformed(self._problem.reason, self._problem.note)
        try:
            state = self._state
            if state == _HEAD:
                return self._next_head()
            if state in (_EMPTY, _DONE):
                self._state = _DONE
                return END
            return self._next_body()
        except Malformed as problem:
            reason = Reason.UPSTREAM_ABORTED if self._ended else Reason.UPSTREAM_INVALID
            raise self._fail(Malformed(reason, problem.note)) from None

    def _next_head(self) -> ResponseHead | Signals:
        raw = self._raw_head()
        if raw is None:
            if self._ended:
                raise Malformed(Reason.UPSTREAM_ABORTED, "ended within the head")
            return NEED_DATA
        before = self._before
        if before is not None and raw == self._raw and self._method != "HEAD":
            head = before
        else:
            head = parse_response_head(raw, self._method, self._limits)
            again = len(raw) <= _AGAIN and head.status >= 200 and self._method != "HEAD"
            self._raw, self._before = (raw, head) if again else (b"", None)
        if head.status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise Malformed(Reason.UPSTREAM_INVALID, "too many interim answers")
            return head
        self._head = head
        if head.chunked:
            self._state = _BODY
            self._body = ChunkedBody(self._limits)
        elif head.until_close:
            self._state = _BODY
            self._body = UntilClose()
        elif head.content_length > 0 and self._method != "HEAD" and head.status != 304:
            self._state = _BODY
            self._body = LengthBody(head.content_length)
        else:
            self._state = _EMPTY
        return head


MAX_INTERIM: Final = 16


def _check_line_ends(buffer: bytes, start: int) -> None:
    """Refuse at once what can never become a head, instead of waiting for its end."""
    text = buffer[max(0, start - 1) :]
    pairs = text.count(b"\r\n")
    first = 1 if start and text[:1] == b"\n" else 0  # its CR was seen before
    if text.count(b"\n") - first != pairs:
        raise Malformed(Reason.MALFORMED_HEAD, "bare LF")
    if text.count(b"\r") - (1 if text.endswith(b"\r") else 0) != pairs:
        raise Malformed(Reason.MALFORMED_HEAD, "bare CR")
