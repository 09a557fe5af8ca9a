"""Request and response heads: from bytes to what is known of a message, or a refusal.

Two readers must agree: our own rules decide, and llhttp (through httptools, a fresh parser per head) must
accept the very same bytes. Nothing of a head is acted on before both have read it to its end. A head that
two honest parsers could frame differently MUST NOT be accepted: what may be ambiguous is refused, also
where RFC 9112 would let a recipient repair it.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

from interlock.gateway.http1.limits import REQUEST_LIMITS, RESPONSE_LIMITS, ReadLimits
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import (
    ACCESS_CONTROL,
    API_KEY,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    ORIGIN,
    PLAIN,
    REQUEST_NAMES,
    RESPONSE_NAMES,
    TRACEPARENT,
    TRANSFER_ENCODING,
    UPGRADE,
    Names,
    is_ours,
)
from interlock.model import Reason

METHODS: dict[bytes, str] = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_CONTROLS = bytes(range(9)) + bytes(range(11, 13)) + bytes(range(14, 32)) + b"\x7f"  # all but HTAB, LF, CR
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_START = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: |\Z)|\r\Z)")
_LONGEST_REST = 64  # of a request line, beside its target
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_HOST = re.compile(
    rb"(?=.{1,261}\Z)"
    rb"(?:([A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?)\.?|(\[[0-9A-Fa-f:.]{2,45}\]))"
    rb"(?::([0-9]{1,5}))?"
)
_HOSTS_KEPT = 1024

# Fields that a peer must not have removed by naming them in `Connection` (RFC 9110 section 7.6.1).
_NEVER_HOP_BY_HOP = frozenset(
    b"host authorization x-api-key content-length content-type content-encoding transfer-encoding cookie set-cookie "
    b"forwarded via origin referer x-real-ip expect range date cache-control www-authenticate location traceparent "
    b"tracestate connection age vary".split()
)
_NEVER_PREFIXES = (b"x-forwarded", b"access-control-", b"if-", b"sec-", b"content-", b"interlock", b"x-interlock")


class RequestHead:
    """One request's head. `lines` are the field lines with CRLF; `plain` those that pass as they are."""

    __slots__ = (
        "api_key",
        "api_key_count",
        "authorization",
        "authorization_count",
        "chunked",
        "content_length",
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
        self.expect_continue = False
        self.authorization: bytes | None = None
        self.authorization_count = 0
        self.api_key: bytes | None = None
        self.api_key_count = 0
        self.origin: bytes | None = None
        self.traceparent: bytes | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Every field as (lower-case name, value), in order. Made on demand."""
        return _pairs(self.lines)

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that lower-case name, in order."""
        return [value for found, value in _pairs(self.lines) if found == name]


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
        return _pairs(self.lines)


def parse_request_head(raw: bytes, limits: ReadLimits = REQUEST_LIMITS) -> RequestHead:
    """Read one head, which begins with the request line and ends with CRLF CRLF. Raises `Malformed`."""
    lines = _split(raw, limits)
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
            name, line, kind = _unfamiliar(line, REQUEST_NAMES)
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
        elif kind == API_KEY:
            head.api_key_count += 1
            head.api_key = value
        elif kind == CONTENT_LENGTH:
            head.content_length = _content_length(value, head.content_length)
        elif kind == TRANSFER_ENCODING:
            encodings += 1
            _only_chunked(value, encodings, head.http10)
            head.chunked = True
        elif kind == CONNECTION:
            connection |= _connection_options(value)
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
    head.host, head.hostname = _HOSTS.get(head.host) or _host(head.host)
    if head.chunked:
        if head.content_length >= 0:
            raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length with Transfer-Encoding")
        head.has_body = True
    elif head.content_length > 0:
        head.has_body = True
    if upgrade is not None and (head.has_body or upgrade.lower() != b"h2c"):
        raise Malformed(Reason.UPGRADE_REFUSED, "with a body" if head.has_body else "not offered")
    if connection:
        _apply_connection(head, connection)
    _agree_on_request(raw, upgrade is not None)
    return head


def parse_response_head(raw: bytes, request_method: str, limits: ReadLimits = RESPONSE_LIMITS) -> ResponseHead:
    """Read the head of an answer to `request_method`. Raises `Malformed`, always `UPSTREAM_INVALID`."""
    try:
        return _response_head(raw, request_method, limits)
    except Malformed as problem:
        raise Malformed(Reason.UPSTREAM_INVALID, problem.note or problem.reason.value) from None


def _response_head(raw: bytes, request_method: str, limits: ReadLimits) -> ResponseHead:
    lines = _split(raw, limits)
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
        name = line.partition(b": ")[0]
        kind = kinds.get(name)
        if kind is None:
            name, line, kind = _unfamiliar(line, RESPONSE_NAMES)
        if kind == PLAIN:
            fields.append(line)
        elif kind == ACCESS_CONTROL:
            head.access_control.append(line)
        elif kind == CONTENT_LENGTH:
            head.content_length = _content_length(line[len(name) + 2 : -2].strip(b" \t"), head.content_length)
        elif kind == TRANSFER_ENCODING:
            encodings += 1
            _only_chunked(line[len(name) + 2 : -2].strip(b" \t"), encodings, head.http10)
            head.chunked = True
        elif kind == CONNECTION:
            connection |= _connection_options(line[len(name) + 2 : -2].strip(b" \t"))
    if status == 101:
        raise Malformed(Reason.UPSTREAM_INVALID, "switches protocols unasked")
    if head.chunked and head.content_length >= 0:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length with Transfer-Encoding")
    if connection:
        _apply_connection_of_response(head, connection)
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


# -- lines


def _split(raw: bytes, limits: ReadLimits) -> list[bytes]:
    """Lines with their CRLF, the last of them empty; nothing that any parser could take for a line's end."""
    if len(raw) > limits.head_size:
        raise Malformed(Reason.HEAD_TOO_LARGE, "bytes")
    lines = raw.splitlines(True)
    count = len(lines)
    if raw.count(b"\r") != count or raw.count(b"\n") != count:
        raise Malformed(Reason.MALFORMED_HEAD, "bare CR or LF")
    if count < 2 or lines[-1] != b"\r\n":
        raise Malformed(Reason.MALFORMED_HEAD, "not ended by an empty line")
    if count - 2 > limits.head_count:
        raise Malformed(Reason.HEAD_TOO_LARGE, "fields")
    if len(raw.translate(None, _CONTROLS)) != len(raw):
        raise Malformed(Reason.MALFORMED_HEAD, "control character")
    return lines


def _unfamiliar(line: bytes, names: Names) -> tuple[bytes, bytes, int]:
    """Name, canonical line and class of a line whose spelling is new, or which has no space after the colon."""
    name, colon, value = line.partition(b":")
    if not colon:
        raise Malformed(Reason.MALFORMED_HEAD, "field line without a colon")
    if value[:1] != b" ":
        line = b"%b: %b" % (name, value)
    try:
        kind = names.kinds.get(name)
        return name, line, names.learn(name) if kind is None else kind
    except ValueError:
        note = "folded line" if name[:1] in (b" ", b"\t") else "field name"
        raise Malformed(Reason.MALFORMED_HEAD, note) from None


def _pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = []
    for line in lines:
        name, _, value = line.partition(b":")
        pairs.append((name.lower(), value.strip(b" \t\r\n")))
    return pairs


# -- the request line and Host


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


_HOSTS: dict[bytes, tuple[bytes, str]] = {}  # Host values seen, which are few; bounded


def _host(value: bytes) -> tuple[bytes, str]:
    """Lower-case Host and the bare host name (RFC 9110 section 7.2; no user information, no reg-name exotica)."""
    match = _HOST.fullmatch(value)
    if match is None or (match[3] is not None and not 0 < int(match[3]) < 65536):
        raise Malformed(Reason.HOST_INVALID, "not host[:port]")
    name = (match[1] or match[2]).lower().decode("ascii")
    if name[0] == "[":
        try:
            name = f"[{IPv6Address(name[1:-1])}]"
        except ValueError:
            raise Malformed(Reason.HOST_INVALID, "not an IPv6 address") from None
    if ".." in name:
        raise Malformed(Reason.HOST_INVALID, "empty label")
    found = value.lower(), name
    if len(_HOSTS) >= _HOSTS_KEPT:
        _HOSTS.clear()
    _HOSTS[value] = found
    return found


# -- framing fields


def _content_length(value: bytes, before: int) -> int:
    if before >= 0:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "more than one Content-Length")
    if not _LENGTH.fullmatch(value):
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length is not a number")
    return int(value)


def _only_chunked(value: bytes, encodings: int, http10: bool) -> None:
    if encodings > 1:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "more than one Transfer-Encoding")
    if http10:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Transfer-Encoding on HTTP/1.0")
    if value.lower() != b"chunked":
        raise Malformed(Reason.TRANSFER_CODING, "not exactly chunked")


def _connection_options(value: bytes) -> frozenset[bytes]:
    options = frozenset(option.strip(b" \t").lower() for option in value.split(b",")) - {b""}
    for option in options:
        if option in _NEVER_HOP_BY_HOP or option.startswith(_NEVER_PREFIXES) or is_ours(option):
            raise Malformed(Reason.CONNECTION_HEADER, option.decode("latin-1"))
    return options


_SILENT = frozenset((b"close", b"keep-alive"))


def _apply_connection(head: RequestHead, options: frozenset[bytes]) -> None:
    head.keep_alive = b"close" not in options and (not head.http10 or b"keep-alive" in options)
    named = options - _SILENT
    if named:
        head.plain[:] = [line for line in head.plain if line.partition(b":")[0].lower() not in named]


def _apply_connection_of_response(head: ResponseHead, options: frozenset[bytes]) -> None:
    head.keep_alive = b"close" not in options and (not head.http10 or b"keep-alive" in options)
    head.dropped = options - _SILENT
    if head.dropped:
        head.fields[:] = [line for line in head.fields if line.partition(b":")[0].lower() not in head.dropped]


# -- the second opinion


class _Listener:
    """Hears nothing: llhttp is asked only whether it accepts."""

    __slots__ = ()


_DEAF = _Listener()


def _agree_on_request(raw: bytes, upgrade: bool) -> None:
    try:
        HttpRequestParser(_DEAF).feed_data(raw)
    except HttpParserUpgrade as stop:
        if not upgrade or stop.args[0] != len(raw):
            raise Malformed(Reason.UPGRADE_REFUSED, "llhttp") from None
    except HttpParserInvalidURLError as problem:
        raise Malformed(Reason.PATH_INVALID, f"llhttp: {problem}") from None
    except HttpParserError as problem:
        raise Malformed(Reason.MALFORMED_HEAD, f"llhttp: {problem}") from None


def _agree_on_response(raw: bytes) -> None:
    try:
        HttpResponseParser(_DEAF).feed_data(raw)
    except HttpParserUpgrade:
        raise Malformed(Reason.UPSTREAM_INVALID, "llhttp: upgrade") from None
    except HttpParserError as problem:
        raise Malformed(Reason.UPSTREAM_INVALID, f"llhttp: {problem}") from None
