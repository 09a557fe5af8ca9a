"""Where a message's body ends: one decoder per framing of RFC 9112 section 6.

Decoders are fed what arrived, give payload and keep no more than one unfinished line. Chunk extensions are
dropped and trailers are checked and dropped: nothing in a body MUST become a field.

A decoder's `feed(data)` gives `(payload, rest, done)`: pieces of payload in order, bytes after the body's end
(empty unless done), and whether the body has ended.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from interlock.gateway.http1.limits import ReadLimits
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import TOKEN
from interlock.model import Reason

Fed = tuple[list[bytes], bytes, bool]

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NEVER_TRAILERS: Final = frozenset((b"content-length", b"transfer-encoding", b"host"))  # RFC 9110 section 6.5.1


class BodyDecoder(Protocol):
    """Finds the end of one body."""

    def feed(self, data: bytes) -> Fed:
        """Take what arrived; `Malformed` if it breaks the framing. MUST NOT be called after it was done."""
        ...

    def feed_eof(self) -> None:
        """The peer has ended its side: `Malformed` if the body is cut short."""
        ...


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes) -> Fed:
        size = len(data)
        left = self._left
        if size < left:
            self._left = left - size
            return [data], b"", False
        self._left = 0
        if size == left:
            return [data], b"", True
        return [data[:left]], data[left:], True

    def feed_eof(self) -> None:
        raise Malformed(Reason.MALFORMED_BODY, f"ended {self._left} bytes early")


class UntilClose:
    """An answer's body that ends with the connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> Fed:
        return [data], b"", False

    def feed_eof(self) -> None:
        return


# What the chunked decoder waits for.
_SIZE, _DATA, _DATA_END, _TRAILER = range(4)


class ChunkedBody:
    """The chunked transfer coding (RFC 9112 section 7.1), without its liberties.

    CRLF only, no space around the size, extensions of printable characters. Framing may cost eight bytes
    per byte of payload and `limits.framing` beside, which any honest sender stays far below.
    """

    __slots__ = ("_left", "_limits", "_line", "_overhead", "_paid", "_state", "_trailer_count", "_trailer_size")

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._line = b""  # an unfinished line
        self._left = 0  # of the present chunk
        self._overhead = 0
        self._paid = limits.framing
        self._trailer_size = 0
        self._trailer_count = 0

    def feed(self, data: bytes) -> Fed:
        if self._line:
            data = self._line + data
            self._line = b""
        payload: list[bytes] = []
        at = 0
        size = len(data)
        while True:
            state = self._state
            if state == _DATA:
                if at == size:
                    return payload, b"", False
                end = at + self._left
                if end > size:
                    payload.append(data[at:] if at else data)
                    self._left = end - size
                    return payload, b"", False
                payload.append(data[at:end])
                at = end
                self._state = _DATA_END
            elif state == _DATA_END:
                if size - at < 2:
                    if at < size and data[at] != 13:
                        raise Malformed(Reason.MALFORMED_BODY, "chunk longer than its size")
                    self._line = data[at:]
                    return payload, b"", False
                if data[at : at + 2] != b"\r\n":
                    raise Malformed(Reason.MALFORMED_BODY, "chunk longer than its size")
                at += 2
                self._state = _SIZE
            else:
                limit = self._limits.chunk_line if state == _SIZE else self._limits.trailer_size
                end = data.find(b"\n", at, at + limit + 2)
                if end < 0:
                    self._hold(data, at, limit)
                    return payload, b"", False
                if end == at or data[end - 1] != 13:
                    raise Malformed(Reason.MALFORMED_BODY, "bare LF in the framing")
                line = data[at : end - 1]
                at = end + 1
                if state == _SIZE:
                    self._size(line)
                elif line:
                    self._trailer(line)
                else:
                    return payload, data[at:], True

    def feed_eof(self) -> None:
        raise Malformed(Reason.MALFORMED_BODY, "ended before the last chunk")

    def _hold(self, data: bytes, at: int, limit: int) -> None:
        """Keep an unfinished line, unless it cannot become a good one."""
        held = data[at:]
        if len(held) >= limit + 2:
            raise Malformed(Reason.MALFORMED_BODY, "line of the framing too long")
        if b"\r" in held[:-1]:
            raise Malformed(Reason.MALFORMED_BODY, "bare CR in the framing")
        if self._state == _SIZE and held and not _SIZE_LINE.fullmatch(held.removesuffix(b"\r")):
            raise Malformed(Reason.MALFORMED_BODY, "chunk size")
        self._line = held

    def _size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Malformed(Reason.MALFORMED_BODY, "chunk size")
        size = int(match[1], 16)
        self._overhead += len(line) + 4
        self._paid += 8 * size
        if self._overhead > self._paid:
            raise Malformed(Reason.MALFORMED_BODY, "too much framing for its payload")
        self._left = size
        self._state = _DATA if size else _TRAILER

    def _trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name) or not _TRAILER_VALUE.fullmatch(value):
            raise Malformed(Reason.MALFORMED_BODY, "trailer field")
        if name.lower() in _NEVER_TRAILERS:
            raise Malformed(Reason.MALFORMED_BODY, "framing in a trailer")
        self._trailer_size += len(line) + 2
        self._trailer_count += 1
        if self._trailer_size > self._limits.trailer_size or self._trailer_count > self._limits.trailer_count:
            raise Malformed(Reason.MALFORMED_BODY, "trailers too large")
