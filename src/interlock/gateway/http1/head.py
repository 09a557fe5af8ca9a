"""Request heads: from bytes to what is known of a request, or a refusal.

Two readers must agree: our own rules decide, and llhttp (through httptools, a fresh parser per head) must
accept the very same bytes. Nothing of a head is acted on before both have read it to its end. A head that
two honest parsers could frame differently MUST NOT be accepted: what may be ambiguous is refused, also
where RFC 9112 would let a recipient repair it.

Clients send the same field lines again and again, with another path: what both made of them is remembered by
their exact bytes. Only plain cases are: no body or one of a length that is said, no upgrade, nothing that depends on
the request line.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserInvalidURLError, HttpParserUpgrade, HttpRequestParser

from interlock.gateway.http1.framing import (
    SILENT,
    connection_options,
    content_length,
    keeps_alive,
    only_chunked,
    without_named,
)
from interlock.gateway.http1.host import HOSTS, parse_host
from interlock.gateway.http1.limits import REQUEST_LIMITS, ReadLimits
from interlock.gateway.http1.lines import pairs, split_lines, unfamiliar
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import (
    API_KEY,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    DPOP,
    EXPECT,
    HOST,
    ORIGIN,
    PLAIN,
    REQUEST_NAMES,
    TRACEPARENT,
    TRANSFER_ENCODING,
    UPGRADE,
)
from interlock.model import Reason

METHODS: Final[dict[bytes, str]] = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_START: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: |\Z)|\r\Z)")
_LONGEST_REST: Final = 64  # of a request line, beside its target
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_USUAL_LINE: Final = re.compile(rb"([A-Z]{3,7}) ([!-~]+) HTTP/1\.1\r\n")
_ANY_HOST: Final = b"host: a\r\n\r\n"  # what makes a request line a head
_BLOCKS: Final = 1024  # remembered
_LENGTHS: Final = 256  # of those, apart, with the length of a body, which varies
_BLOCK: Final = 4096  # bytes of the longest one

_blocks: Final[dict[bytes, Block]] = {}
_lengths: Final[dict[bytes, Block]] = {}


class Block:
    """The field lines of a request, all of them, and what was made of them; shared by all requests with the same."""

    __slots__ = ("head", "sent", "sent_for")

    def __init__(self, head: RequestHead) -> None:
        self.head = head  # of the first such request
        self.sent = b""  # the lines as they were forwarded last
        self.sent_for: object = None  # what else they depended on


class DpopFields:
    """What a head has of DPoP (RFC 9449): a token of that scheme, proofs, or both."""

    __slots__ = ("proof", "token")

    def __init__(self) -> None:
        self.token: bytes | None = None  # of `Authorization: DPoP TOKEN`
        self.proof: bytes | None = None  # the field's value; of several, all of them joined by commas


class RequestHead:
    """One request's head. `lines` are the field lines with CRLF; `plain` those that pass as they are.

    Its lists may be shared with other requests: they MUST NOT be changed once it is read.
    """

    __slots__ = (
        "api_key",
        "api_key_count",
        "authorization",
        "authorization_count",
        "bearer",
        "block",
        "chunked",
        "content_length",
        "dpop",
        "expect_continue",
        "has_body",
        "host",
        "hostname",
        "http10",
        "keep_alive",
        "lines",
        "method",
        "origin",
        "plain",
        "special",
        "target",
        "traceparent",
        "upgrades",
    )

    def __init__(self, method: str, target: bytes, http10: bool, lines: list[bytes]) -> None:
        self.method = method
        self.target = target
        self.http10 = http10
        self.lines = lines
        self.plain: list[bytes] = []
        self.special: list[tuple[int, bytes, bytes]] = []  # (class, lower-case name, value) of all others
        self.host = b""  # as given, in lower case
        self.hostname = ""  # without the port and the root's dot; IPv6 in brackets and its shortest form
        self.content_length = -1
        self.chunked = False
        self.has_body = False
        self.keep_alive = not http10
        self.upgrades = False  # an Upgrade field was there; it is not followed
        self.expect_continue = False
        self.authorization: bytes | None = None
        self.authorization_count = 0
        self.bearer: bytes | None = None  # the token, of `Authorization: Bearer TOKEN`
        self.dpop: DpopFields | None = None  # None on all ordinary calls
        self.api_key: bytes | None = None
        self.api_key_count = 0
        self.origin: bytes | None = None
        self.traceparent: bytes | None = None
        self.block: Block | None = None

    @classmethod
    def like(cls, block: Block, method: str, target: bytes) -> RequestHead:
        """The head of an HTTP/1.1 request with the field lines of `block`."""
        known = block.head
        head = cls(method, target, False, known.lines)
        head.plain = known.plain
        head.special = known.special
        head.host = known.host
        head.hostname = known.hostname
        head.keep_alive = known.keep_alive
        head.content_length = known.content_length
        head.has_body = known.has_body
        head.authorization = known.authorization
        head.authorization_count = known.authorization_count
        head.bearer = known.bearer
        head.api_key = known.api_key
        head.api_key_count = known.api_key_count
        head.origin = known.origin
        head.traceparent = known.traceparent
        head.block = block
        return head

    @property
    def is_plain(self) -> bool:
        """Nothing but its method and target is its own: another request with these lines means the same."""
        return self.dpop is None and not (self.http10 or self.chunked or self.upgrades or self.expect_continue)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Every field as (lower-case name, value), in order. Made on demand."""
        return pairs(self.lines)

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that lower-case name, in order."""
        return [value for found, value in pairs(self.lines) if found == name]


def parse_request_head(raw: bytes, limits: ReadLimits = REQUEST_LIMITS) -> RequestHead:
    """Read one head, which begins with the request line and ends with CRLF CRLF. Raises `Malformed`."""
    end = raw.find(b"\n") + 1
    fields = raw[end:]
    block = _blocks.get(fields) or _lengths.get(fields)
    if block is not None and len(block.head.lines) <= limits.head_count and len(raw) <= limits.head_size:
        usual = _USUAL_LINE.fullmatch(raw, 0, end)
        if usual is not None:
            method = METHODS.get(usual[1])
            target = usual[2]
            if method is not None and len(target) <= limits.target_size and target != b"*":
                _agree_on_request(raw[:end] + _ANY_HOST, False)
                return RequestHead.like(block, method, target)
    head = _whole_head(raw, limits)
    if len(fields) <= _BLOCK and head.is_plain:
        blocks, most = (_blocks, _BLOCKS) if head.content_length < 0 else (_lengths, _LENGTHS)
        if len(blocks) >= most:
            blocks.clear()
        head.block = blocks[fields] = Block(head)
    return head


def _whole_head(raw: bytes, limits: ReadLimits) -> RequestHead:
    lines = split_lines(raw, limits)
    del lines[-1]
    head = _request_line(lines.pop(0), lines, limits)
    kinds = REQUEST_NAMES.kinds
    plain = head.plain
    hosts = 0
    encodings = 0
    connection: frozenset[bytes] = frozenset()
    upgrade: bytes | None = None
    for line in lines:
        name = line.partition(b": ")[0]
        kind = kinds.get(name)
        if kind is None:
            name, line, kind = unfamiliar(line, REQUEST_NAMES)
        if kind == PLAIN:
            plain.append(line)
            continue
        value = line[len(name) + 2 : -2].strip(b" \t")
        if kind == HOST:
            hosts += 1
            head.host = value
            continue
        head.special.append((kind, name.lower(), value))
        if kind == AUTHORIZATION:
            head.authorization_count += 1
            head.authorization = value
            head.bearer = bearer_token(value)
            if head.bearer is None and value[:5].lower() == b"dpop ":
                head.dpop = head.dpop or DpopFields()
                head.dpop.token = value[5:].strip(b" ")
        elif kind == API_KEY:
            head.api_key_count += 1
            head.api_key = value
        elif kind == DPOP:
            head.dpop = head.dpop or DpopFields()
            head.dpop.proof = value if head.dpop.proof is None else b"%b, %b" % (head.dpop.proof, value)
        elif kind == CONTENT_LENGTH:
            head.content_length = content_length(value, head.content_length)
        elif kind == TRANSFER_ENCODING:
            encodings += 1
            only_chunked(value, encodings, head.http10)
            head.chunked = True
        elif kind == CONNECTION:
            connection |= connection_options(value)
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Malformed(Reason.EXPECTATION_FAILED, "not 100-continue")
            head.expect_continue = not head.http10
        elif kind == ORIGIN:
            if head.origin is not None:
                raise Malformed(Reason.MALFORMED_HEAD, "two Origin fields")
            head.origin = value
            plain.append(line)
        elif kind == TRACEPARENT:
            head.traceparent = value if head.traceparent is None else b""
        elif kind == UPGRADE:
            upgrade = value if upgrade is None else b""
    if hosts != 1:
        raise Malformed(Reason.HOST_INVALID, "no Host" if hosts == 0 else "more than one Host")
    head.host, head.hostname = HOSTS.get(head.host) or parse_host(head.host)
    if head.chunked:
        if head.content_length >= 0:
            raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length with Transfer-Encoding")
        head.has_body = True
    elif head.content_length > 0:
        head.has_body = True
    if upgrade is not None and (head.has_body or upgrade.lower() != b"h2c"):
        raise Malformed(Reason.UPGRADE_REFUSED, "with a body" if head.has_body else "not offered")
    if connection:
        head.keep_alive = keeps_alive(connection, head.http10)
        if named := connection - SILENT:
            head.plain = without_named(head.plain, named)
    head.upgrades = upgrade is not None
    _agree_on_request(raw, head.upgrades)
    return head


def bearer_token(authorization: bytes) -> bytes | None:
    """The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1); None for another scheme."""
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip(b" ")
    return None


# -- the request line


def _request_line(line: bytes, lines: list[bytes], limits: ReadLimits) -> RequestHead:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise _not_a_request_line(line, parts)
    name, target, version = parts
    http10 = version == b"HTTP/1.0\r\n"
    if not http10 and version != b"HTTP/1.1\r\n":
        raise _not_a_request_line(line, parts)
    method = METHODS.get(name)
    if method is None:
        if _METHOD.fullmatch(name):
            raise Malformed(Reason.METHOD_UNKNOWN, name.decode("ascii"))
        raise Malformed(Reason.MALFORMED_HEAD, "method")
    if len(target) > limits.target_size:
        raise Malformed(Reason.TARGET_TOO_LONG)
    if not target or not line.isascii() or b"\t" in line:
        raise Malformed(Reason.PATH_INVALID, "characters in the target")
    if target == b"*" and method != "OPTIONS":
        raise Malformed(Reason.PATH_INVALID, "asterisk-form")
    return RequestHead(method, target, http10, lines)


def _not_a_request_line(line: bytes, parts: list[bytes]) -> Malformed:
    """The most telling reason for a line that is not `method SP target SP version`."""
    last = parts[-1][:-2]
    if _METHOD.fullmatch(parts[0]) and len(parts) == 3 and _VERSION.fullmatch(last):
        return Malformed(Reason.VERSION_UNSUPPORTED, last.decode("ascii"))
    if _METHOD.fullmatch(parts[0]) and len(parts) == 2 and last.startswith(b"/") and b"\t" not in last:
        return Malformed(Reason.VERSION_UNSUPPORTED, "HTTP/0.9")
    return Malformed(Reason.MALFORMED_HEAD, "request line")


def check_request_start(buffer: bytes, limits: ReadLimits) -> None:
    """Refuse what has begun in a way no request can, instead of waiting for the end of its head."""
    end = buffer.find(b"\r\n")
    if end > 0:
        _request_line(buffer[: end + 2], [], limits)
    elif len(buffer) > limits.target_size + _LONGEST_REST:
        raise Malformed(Reason.TARGET_TOO_LONG)
    elif not _START.match(buffer):
        raise Malformed(Reason.MALFORMED_HEAD, "not a request")


# -- the second opinion: llhttp is told of no one who listens, and asked only whether it accepts


def _agree_on_request(raw: bytes, upgrade: bool) -> None:
    try:
        HttpRequestParser(None).feed_data(raw)
    except HttpParserUpgrade as stop:
        if not upgrade or stop.args[0] != len(raw):
            raise Malformed(Reason.UPGRADE_REFUSED, "llhttp") from None
    except HttpParserInvalidURLError as problem:
        raise Malformed(Reason.PATH_INVALID, f"llhttp: {problem}") from None
    except HttpParserError as problem:
        raise Malformed(Reason.MALFORMED_HEAD, f"llhttp: {problem}") from None
