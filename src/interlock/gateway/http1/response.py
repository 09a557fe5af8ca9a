"""Answer heads: from bytes to what is known of an answer, or a refusal.

An upstream is not trusted to frame well: as with requests, llhttp must accept the same bytes.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from interlock.gateway.http1.framing import (
    SILENT,
    connection_options,
    content_length,
    keeps_alive,
    only_chunked,
    without_named,
)
from interlock.gateway.http1.limits import RESPONSE_LIMITS, ReadLimits
from interlock.gateway.http1.lines import pairs, split_lines, unfamiliar
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import (
    ACCESS_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    PLAIN,
    RESPONSE_NAMES,
    TRANSFER_ENCODING,
)
from interlock.model import Reason

_LINES: Final = 4096  # remembered
_LINE: Final = 128  # bytes of the longest one
# Whole lines, as upstreams send them again and again, that mean nothing here: whether they pass.
_known: Final[dict[bytes, bool]] = {}

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")


class ResponseHead:
    """One answer's head. `fields` are the complete lines that may pass to the caller."""

    __slots__ = (
        "access_control",
        "chunked",
        "content_length",
        "dropped",
        "fields",
        "http10",
        "keep_alive",
        "lines",
        "phrase",
        "status",
        "until_close",
    )

    def __init__(self, status: int, phrase: bytes, http10: bool, lines: list[bytes]) -> None:
        self.status = status
        self.phrase = phrase
        self.http10 = http10
        self.lines = lines
        self.fields: list[bytes] = []
        self.access_control: list[bytes] = []  # CORS lines; they pass unless the route has CORS of its own
        self.dropped: frozenset[bytes] = frozenset()  # names that `Connection` gave
        self.content_length = -1
        self.chunked = False
        self.until_close = False
        self.keep_alive = not http10

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Every field as (lower-case name, value), in order. Made on demand."""
        return pairs(self.lines)


def parse_response_head(raw: bytes, request_method: str, limits: ReadLimits = RESPONSE_LIMITS) -> ResponseHead:
    """Read the head of an answer to `request_method`. Raises `Malformed`, always `UPSTREAM_INVALID`."""
    try:
        return _response_head(raw, request_method, limits)
    except Malformed as problem:
        raise Malformed(Reason.UPSTREAM_INVALID, problem.note or problem.reason.value) from None


def _response_head(raw: bytes, request_method: str, limits: ReadLimits) -> ResponseHead:
    lines = split_lines(raw, limits)
    del lines[-1]
    first = _STATUS_LINE.fullmatch(lines.pop(0))
    if first is None:
        raise Malformed(Reason.UPSTREAM_INVALID, "status line")
    status = int(first[2])
    head = ResponseHead(status, first[3] or b"", first[1] == b"0", lines)
    kinds = RESPONSE_NAMES.kinds
    fields = head.fields
    encodings = 0
    connection: frozenset[bytes] = frozenset()
    for line in lines:
        passes = _known.get(line)
        if passes is not None:
            if passes:
                fields.append(line)
            continue
        name = line.partition(b": ")[0]
        kind = kinds.get(name)
        if kind is None:
            name, line, kind = unfamiliar(line, RESPONSE_NAMES)
        if kind == PLAIN:
            fields.append(line)
            _remember(line, True)
        elif kind == ACCESS_CONTROL:
            head.access_control.append(line)
        elif kind == CONTENT_LENGTH:
            head.content_length = content_length(line[len(name) + 2 : -2].strip(b" \t"), head.content_length)
        elif kind == TRANSFER_ENCODING:
            encodings += 1
            only_chunked(line[len(name) + 2 : -2].strip(b" \t"), encodings, head.http10)
            head.chunked = True
        elif kind == CONNECTION:
            connection |= connection_options(line[len(name) + 2 : -2].strip(b" \t"))
        else:
            _remember(line, False)
    if status == 101:
        raise Malformed(Reason.UPSTREAM_INVALID, "switches protocols unasked")
    if head.chunked and head.content_length >= 0:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length with Transfer-Encoding")
    if connection:
        head.keep_alive = keeps_alive(connection, head.http10)
        head.dropped = connection - SILENT
        if head.dropped:
            head.fields = without_named(head.fields, head.dropped)
    if status < 200 or status == 204:
        head.content_length = -1
        head.chunked = False
    elif request_method == "HEAD" or status == 304:
        head.chunked = False
    elif not head.chunked and head.content_length < 0:
        head.until_close = True
        head.keep_alive = False
    _agree_on_response(raw)
    return head


def _remember(line: bytes, passes: bool) -> None:
    if len(line) <= _LINE:
        if len(_known) >= _LINES:
            _known.clear()
        _known[line] = passes


def _agree_on_response(raw: bytes) -> None:
    try:
        HttpResponseParser(None).feed_data(raw)
    except HttpParserUpgrade:
        raise Malformed(Reason.UPSTREAM_INVALID, "llhttp: upgrade") from None
    except HttpParserError as problem:
        raise Malformed(Reason.UPSTREAM_INVALID, f"llhttp: {problem}") from None
