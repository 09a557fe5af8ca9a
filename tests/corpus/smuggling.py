"""Requests that some parser somewhere reads differently from another.

A table of plain data: the bytes a caller sends on one connection, and the reason for which the gateway must
refuse them. `reason` None says that they are acceptable: then `messages` are what every parser must see.
A refused case may have `messages` too: those before the fault, on the same connection.
The table serves unit tests (parsers alone) and integration tests (a running gateway).
"""

from __future__ import annotations

from dataclasses import dataclass

from interlock.model import Reason

HOST = b"Host: api.example\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One connection's bytes and what must become of them."""

    name: str
    raw: bytes
    reason: Reason | None
    messages: tuple[tuple[str, bytes, bytes], ...] = ()  # (method, target, body) of each that is acceptable

    def __str__(self) -> str:
        return self.name


def get(*fields: bytes, target: bytes = b"/a", version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"GET %b %b\r\n%b%b\r\n" % (target, version, host, lines)


def post(*fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST /a %b\r\n%b%b\r\n%b" % (version, HOST, lines, body)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: api.example\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
TE = b"Transfer-Encoding: chunked"
CL = b"Content-Length: 5"

_FRAMING = [
    ("cl-te", post(b"Content-Length: 6", TE, body=b"0\r\n\r\nX"), Reason.AMBIGUOUS_FRAMING),
    ("te-cl", post(TE, b"Content-Length: 4", body=CHUNKS), Reason.AMBIGUOUS_FRAMING),
    ("te-cl-smuggled", post(TE, b"Content-Length: 3", body=b"8\r\nSMUGGLED\r\n0\r\n\r\n"), Reason.AMBIGUOUS_FRAMING),
    ("te-with-cl-0", post(b"Content-Length: 0", TE, body=CHUNKS), Reason.AMBIGUOUS_FRAMING),
    ("cl-twice-different", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), Reason.AMBIGUOUS_FRAMING),
    ("cl-twice-same", post(CL, CL, body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-list", post(b"Content-Length: 5, 5", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-list-different", post(b"Content-Length: 5, 6", body=b"hello!"), Reason.AMBIGUOUS_FRAMING),
    ("cl-plus", post(b"Content-Length: +5", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-minus", post(b"Content-Length: -1"), Reason.AMBIGUOUS_FRAMING),
    ("cl-minus-zero", post(b"Content-Length: -0"), Reason.AMBIGUOUS_FRAMING),
    ("cl-hex", post(b"Content-Length: 0x5", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-underscore-digits", post(b"Content-Length: 1_0", body=b"hellohello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-empty", post(b"Content-Length: "), Reason.AMBIGUOUS_FRAMING),
    ("cl-no-value", post(b"Content-Length:"), Reason.AMBIGUOUS_FRAMING),
    ("cl-inner-space", post(b"Content-Length: 1 0", body=b"hellohello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-comma", post(b"Content-Length: 5,", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-decimal", post(b"Content-Length: 5.0", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-exponent", post(b"Content-Length: 5e0", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-huge", post(b"Content-Length: 18446744073709551621", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-19-digits", post(b"Content-Length: 1000000000000000000"), Reason.AMBIGUOUS_FRAMING),
    ("cl-fullwidth-digit", post(b"Content-Length: \xef\xbc\x95", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-superscript", post(b"Content-Length: \xb2", body=b"he"), Reason.AMBIGUOUS_FRAMING),
    ("cl-quoted", post(b'Content-Length: "5"', body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-semicolon", post(b"Content-Length: 5;", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-case-twice", post(b"content-length: 5", b"CONTENT-LENGTH: 5", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("te-gzip-chunked", post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-gzip", post(b"Transfer-Encoding: chunked, gzip", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-chunked", post(b"Transfer-Encoding: chunked, chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-identity", post(b"Transfer-Encoding: chunked, identity", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-identity", post(b"Transfer-Encoding: identity", CL, body=b"hello"), Reason.TRANSFER_CODING),
    ("te-identity-alone", post(b"Transfer-Encoding: identity"), Reason.TRANSFER_CODING),
    ("te-gzip", post(b"Transfer-Encoding: gzip"), Reason.TRANSFER_CODING),
    ("te-x-chunked", post(b"Transfer-Encoding: x-chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-xchunked", post(b"Transfer-Encoding: xchunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunkedx", post(b"Transfer-Encoding: chunkedx", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunke", post(b"Transfer-Encoding: chunke", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-semicolon", post(b"Transfer-Encoding: chunked;", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-parameter", post(b"Transfer-Encoding: chunked;q=1", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-chunked-comma", post(b"Transfer-Encoding: chunked,", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-comma-chunked", post(b"Transfer-Encoding: ,chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-quoted", post(b'Transfer-Encoding: "chunked"', body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-trailing-tab", post(b"Transfer-Encoding: chunked\t", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-empty", post(b"Transfer-Encoding: "), Reason.TRANSFER_CODING),
    ("te-no-value", post(b"Transfer-Encoding:", CL, body=b"hello"), Reason.TRANSFER_CODING),
    ("te-high-byte", post(b"Transfer-Encoding: chunked\xa0", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-utf8-k", post(b"Transfer-Encoding: chun\xe2\x84\xaaed", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-vertical-tab", post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-form-feed", post(b"Transfer-Encoding: chunked\x0c", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-nul", post(b"Transfer-Encoding: chunked\x00", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-twice", post(TE, TE, body=CHUNKS), Reason.AMBIGUOUS_FRAMING),
    ("te-chunked-then-identity", post(TE, b"Transfer-Encoding: identity", body=CHUNKS), Reason.AMBIGUOUS_FRAMING),
    ("te-identity-then-chunked", post(b"Transfer-Encoding: identity", TE, body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-case-twice", post(b"transfer-encoding: chunked", TE.upper(), body=CHUNKS), Reason.AMBIGUOUS_FRAMING),
    ("te-on-1.0", post(TE, body=CHUNKS, version=b"HTTP/1.0"), Reason.AMBIGUOUS_FRAMING),
    ("te-on-1.0-with-cl", post(TE, CL, body=b"hello", version=b"HTTP/1.0"), Reason.AMBIGUOUS_FRAMING),
    ("te-space-before-colon", post(b"Transfer-Encoding : chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-tab-before-colon", post(b"Transfer-Encoding\t: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-leading-space", post(b" Transfer-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-folded", post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-folded-tab", post(b"Transfer-Encoding:\r\n\tchunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("te-after-bare-lf", post(b"X: y\nTransfer-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-after-bare-cr", post(b"X: y\rTransfer-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-lf-cr", post(b"X: y\n\rTransfer-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-null-in-name", post(b"Transfer\x00-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-bom-in-name", post(b"\xef\xbb\xbfTransfer-Encoding: chunked", body=CHUNKS), Reason.MALFORMED_HEAD),
    ("te-colon-colon", post(b"Transfer-Encoding:: chunked", body=CHUNKS), Reason.TRANSFER_CODING),
    ("cl-space-before-colon", post(b"Content-Length : 5", body=b"hello"), Reason.MALFORMED_HEAD),
    ("cl-folded", post(b"Content-Length:\r\n 5", body=b"hello"), Reason.AMBIGUOUS_FRAMING),
    ("cl-vertical-tab", post(b"Content-Length: \x0b5", body=b"hello"), Reason.MALFORMED_HEAD),
]

_HEAD = [
    ("folded-line", get(b"X: a\r\n b"), Reason.MALFORMED_HEAD),
    ("folded-first-line", b"GET /a HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("folded-empty", get(b"X: a\r\n "), Reason.MALFORMED_HEAD),
    ("bare-lf-everywhere", b"GET /a HTTP/1.1\nHost: api.example\n\n", Reason.MALFORMED_HEAD),
    ("bare-lf-after-line", b"GET /a HTTP/1.1\nHost: api.example\r\n\r\n", Reason.MALFORMED_HEAD),
    ("bare-lf-in-field", b"GET /a HTTP/1.1\r\nX: y\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("bare-lf-at-end", b"GET /a HTTP/1.1\r\nHost: api.example\n\r\n", Reason.MALFORMED_HEAD),
    ("bare-lf-final", b"GET /a HTTP/1.1\r\nHost: api.example\r\n\n" + SMUGGLED, Reason.MALFORMED_HEAD),
    ("bare-cr-in-value", get(b"X: a\rb"), Reason.MALFORMED_HEAD),
    ("bare-cr-at-end", get(b"X: a\r"), Reason.MALFORMED_HEAD),
    ("bare-cr-in-line", b"GET /a\rHTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("bare-cr-everywhere", b"GET /a HTTP/1.1\rHost: api.example\r\r", Reason.MALFORMED_HEAD),
    ("nul-in-value", get(b"X: a\x00b"), Reason.MALFORMED_HEAD),
    ("nul-in-name", get(b"X\x00: ab"), Reason.MALFORMED_HEAD),
    ("nul-in-target", get(target=b"/a\x00b"), Reason.MALFORMED_HEAD),
    ("control-in-value", get(b"X: a\x01b"), Reason.MALFORMED_HEAD),
    ("delete-in-value", get(b"X: a\x7fb"), Reason.MALFORMED_HEAD),
    ("escape-in-value", get(b"X: \x1b[31m"), Reason.MALFORMED_HEAD),
    ("space-before-colon", get(b"X : a"), Reason.MALFORMED_HEAD),
    ("space-in-name", get(b"X Y: a"), Reason.MALFORMED_HEAD),
    ("no-name", get(b": a"), Reason.MALFORMED_HEAD),
    ("no-colon", get(b"Nonsense"), Reason.MALFORMED_HEAD),
    ("name-with-slash", get(b"X/Y: a"), Reason.MALFORMED_HEAD),
    ("name-with-bracket", get(b"X[y]: a"), Reason.MALFORMED_HEAD),
    ("name-with-high-byte", get(b"X\xe9: a"), Reason.MALFORMED_HEAD),
    ("name-with-quote", get(b'"X": a'), Reason.MALFORMED_HEAD),
    ("request-line-in-fields", get(b"GET /admin HTTP/1.1"), Reason.MALFORMED_HEAD),
    ("two-spaces-before-target", b"GET  /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("two-spaces-before-version", b"GET /a  HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("tab-in-line", b"GET\t/a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("tab-before-version", b"GET /a\tHTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("space-after-version", b"GET /a HTTP/1.1 \r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("space-before-method", b" GET /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("space-in-target", b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("two-request-lines", b"GET /a HTTP/1.1 GET /b HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("empty-line-twice", b"\r\n\r\n" + SMUGGLED, Reason.MALFORMED_HEAD),
    ("bare-lf-first", b"\n" + SMUGGLED, Reason.MALFORMED_HEAD),
    ("http-0.9", b"GET /a\r\n\r\n", Reason.VERSION_UNSUPPORTED),
    ("http-0.9-line", b"GET /a\r\n", Reason.VERSION_UNSUPPORTED),
    ("http-0.9-with-host", b"GET /a\r\n" + HOST + b"\r\n", Reason.VERSION_UNSUPPORTED),
    ("version-0.9", get(version=b"HTTP/0.9"), Reason.VERSION_UNSUPPORTED),
    ("version-1.2", get(version=b"HTTP/1.2"), Reason.VERSION_UNSUPPORTED),
    ("version-2.0", get(version=b"HTTP/2.0"), Reason.VERSION_UNSUPPORTED),
    ("version-3.0", get(version=b"HTTP/3.0"), Reason.VERSION_UNSUPPORTED),
    ("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.VERSION_UNSUPPORTED),
    ("version-1.10", get(version=b"HTTP/1.10"), Reason.MALFORMED_HEAD),
    ("version-01.1", get(version=b"HTTP/01.1"), Reason.MALFORMED_HEAD),
    ("version-1", get(version=b"HTTP/1"), Reason.MALFORMED_HEAD),
    ("version-1,1", get(version=b"HTTP/1,1"), Reason.MALFORMED_HEAD),
    ("version-lower-case", get(version=b"http/1.1"), Reason.MALFORMED_HEAD),
    ("version-other-protocol", get(version=b"RTSP/1.0"), Reason.MALFORMED_HEAD),
    ("version-ice", get(version=b"ICE/1.0"), Reason.MALFORMED_HEAD),
    ("version-superscript", get(version=b"HTTP/1.\xb9"), Reason.MALFORMED_HEAD),
    ("method-lower-case", b"get /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-mixed-case", b"Get /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-unknown", b"BREW /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-trace", b"TRACE /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-connect", b"CONNECT api.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-connect-path", b"CONNECT /a HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, Reason.METHOD_UNKNOWN),
    ("method-rtsp", b"DESCRIBE /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-source", b"SOURCE /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-webdav", b"PROPFIND /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.METHOD_UNKNOWN),
    ("method-with-colon", b"GET: /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("method-empty", b" /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("method-endless", b"G" * 64 + b" /a HTTP/1.1\r\n" + HOST + b"\r\n", Reason.MALFORMED_HEAD),
    ("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Reason.MALFORMED_HEAD),
    ("ssh-banner", b"SSH-2.0-OpenSSH_9.6\r\n", Reason.MALFORMED_HEAD),
    ("proxy-protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + SMUGGLED, Reason.MALFORMED_HEAD),
    ("response-as-request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reason.MALFORMED_HEAD),
    ("leftover-body", b"hello\r\n" + SMUGGLED, Reason.MALFORMED_HEAD),
    ("expectation-unknown", post(b"Expect: 200-ok", CL, body=b"hello"), Reason.EXPECTATION_FAILED),
    ("expectation-list", post(b"Expect: 100-continue, x", CL, body=b"hello"), Reason.EXPECTATION_FAILED),
    ("origin-twice", get(b"Origin: https://a.example", b"Origin: https://b.example"), Reason.MALFORMED_HEAD),
]

_HOSTS = [
    ("no-host", get(host=b""), Reason.HOST_INVALID),
    ("no-host-1.0", get(host=b"", version=b"HTTP/1.0"), Reason.HOST_INVALID),
    ("two-hosts", get(b"Host: internal.example"), Reason.HOST_INVALID),
    ("two-hosts-same", get(b"Host: api.example"), Reason.HOST_INVALID),
    ("two-hosts-case", get(b"hOsT: internal.example"), Reason.HOST_INVALID),
    ("host-empty", get(host=b"Host: \r\n"), Reason.HOST_INVALID),
    ("host-no-value", get(host=b"Host:\r\n"), Reason.HOST_INVALID),
    ("host-list", get(host=b"Host: api.example, internal.example\r\n"), Reason.HOST_INVALID),
    ("host-space", get(host=b"Host: api.example internal.example\r\n"), Reason.HOST_INVALID),
    ("host-user", get(host=b"Host: api.example@internal.example\r\n"), Reason.HOST_INVALID),
    ("host-path", get(host=b"Host: api.example/admin\r\n"), Reason.HOST_INVALID),
    ("host-query", get(host=b"Host: api.example?x\r\n"), Reason.HOST_INVALID),
    ("host-fragment", get(host=b"Host: api.example#x\r\n"), Reason.HOST_INVALID),
    ("host-url", get(host=b"Host: http://api.example\r\n"), Reason.HOST_INVALID),
    ("host-percent", get(host=b"Host: api%2eexample\r\n"), Reason.HOST_INVALID),
    ("host-high-byte", get(host=b"Host: api\xe9.example\r\n"), Reason.HOST_INVALID),
    ("host-quoted", get(host=b'Host: "api.example"\r\n'), Reason.HOST_INVALID),
    ("host-port-text", get(host=b"Host: api.example:http\r\n"), Reason.HOST_INVALID),
    ("host-port-empty", get(host=b"Host: api.example:\r\n"), Reason.HOST_INVALID),
    ("host-port-zero", get(host=b"Host: api.example:0\r\n"), Reason.HOST_INVALID),
    ("host-port-large", get(host=b"Host: api.example:65536\r\n"), Reason.HOST_INVALID),
    ("host-port-twice", get(host=b"Host: api.example:80:80\r\n"), Reason.HOST_INVALID),
    ("host-port-signed", get(host=b"Host: api.example:+80\r\n"), Reason.HOST_INVALID),
    ("host-only-port", get(host=b"Host: :8080\r\n"), Reason.HOST_INVALID),
    ("host-dots", get(host=b"Host: api..example\r\n"), Reason.HOST_INVALID),
    ("host-leading-dot", get(host=b"Host: .api.example\r\n"), Reason.HOST_INVALID),
    ("host-bracket-open", get(host=b"Host: [::1\r\n"), Reason.HOST_INVALID),
    ("host-bracket-name", get(host=b"Host: [api.example]\r\n"), Reason.HOST_INVALID),
    ("host-bracket-nonsense", get(host=b"Host: [:::::]\r\n"), Reason.HOST_INVALID),
    ("host-ipv6-bare", get(host=b"Host: ::1\r\n"), Reason.HOST_INVALID),
    ("host-ipv6-zone", get(host=b"Host: [fe80::1%25eth0]\r\n"), Reason.HOST_INVALID),
    ("host-wildcard", get(host=b"Host: *.example\r\n"), Reason.HOST_INVALID),
    ("host-endless", get(host=b"Host: " + b"a" * 300 + b"\r\n"), Reason.HOST_INVALID),
    ("host-space-before-colon", get(host=b"Host : api.example\r\n"), Reason.MALFORMED_HEAD),
    ("host-folded", get(host=b"Host:\r\n api.example\r\n"), Reason.MALFORMED_HEAD),
    ("host-nul", get(host=b"Host: api.example\x00.internal\r\n"), Reason.MALFORMED_HEAD),
    ("absolute-form-other-host", get(target=b"http://internal.example/a"), Reason.HOST_INVALID),
    ("absolute-form-other-port", get(target=b"http://api.example:8081/a"), Reason.HOST_INVALID),
    ("absolute-form-user", get(target=b"http://api.example@internal.example/a"), Reason.HOST_INVALID),
    ("absolute-form-user-of-host", get(target=b"http://x@api.example/a"), Reason.HOST_INVALID),
    ("absolute-form-no-host", get(target=b"http:///a"), Reason.HOST_INVALID),
    ("absolute-form-backslash", get(target=b"http://api.example\\@internal.example/a"), Reason.PATH_INVALID),
]

_TARGETS = [
    ("asterisk-get", get(target=b"*"), Reason.PATH_INVALID),
    ("authority-form", get(target=b"api.example:443"), Reason.PATH_INVALID),
    ("relative-path", get(target=b"a/b"), Reason.PATH_INVALID),
    ("scheme-file", get(target=b"file:///etc/passwd"), Reason.PATH_INVALID),
    ("scheme-javascript", get(target=b"javascript:alert(1)"), Reason.PATH_INVALID),
    ("empty-segment", get(target=b"/a//b"), Reason.PATH_INVALID),
    ("empty-first-segment", get(target=b"//internal.example/a"), Reason.PATH_INVALID),
    ("dot-segment", get(target=b"/a/./b"), Reason.PATH_INVALID),
    ("dot-dot-segment", get(target=b"/a/../admin"), Reason.PATH_INVALID),
    ("dot-dot-end", get(target=b"/a/.."), Reason.PATH_INVALID),
    ("dot-dot-encoded", get(target=b"/a/%2e%2e/admin"), Reason.PATH_INVALID),
    ("dot-dot-half-encoded", get(target=b"/a/.%2E/admin"), Reason.PATH_INVALID),
    ("dot-dot-parameter", get(target=b"/a/..;/admin"), Reason.PATH_INVALID),
    ("dot-dot-absolute-form", get(target=b"http://api.example/a/../admin"), Reason.PATH_INVALID),
    ("encoded-slash", get(target=b"/a%2fb"), Reason.PATH_INVALID),
    ("encoded-slash-upper", get(target=b"/a%2Fb"), Reason.PATH_INVALID),
    ("encoded-backslash", get(target=b"/a%5cb"), Reason.PATH_INVALID),
    ("backslash", get(target=b"/a\\b"), Reason.PATH_INVALID),
    ("backslash-dots", get(target=b"/a\\..\\admin"), Reason.PATH_INVALID),
    ("encoded-nul", get(target=b"/a%00"), Reason.PATH_INVALID),
    ("encoded-crlf", get(target=b"/a%0d%0aX:%20y"), Reason.PATH_INVALID),
    ("encoded-tab", get(target=b"/a%09"), Reason.PATH_INVALID),
    ("encoded-delete", get(target=b"/a%7f"), Reason.PATH_INVALID),
    ("double-encoded-slash", get(target=b"/a%252fb"), Reason.PATH_INVALID),
    ("double-encoded-dots", get(target=b"/a/%252e%252e/admin"), Reason.PATH_INVALID),
    ("double-encoded-by-halves", get(target=b"/a%25%32%66b"), Reason.PATH_INVALID),
    ("triple-encoded", get(target=b"/a%25252f"), Reason.PATH_INVALID),
    ("parameter", get(target=b"/a;jsessionid=1/b"), Reason.PATH_INVALID),
    ("encoded-parameter", get(target=b"/a%3bx=1"), Reason.PATH_INVALID),
    ("overlong-slash", get(target=b"/a%c0%afb"), Reason.PATH_INVALID),
    ("overlong-dot", get(target=b"/a/%c0%ae%c0%ae/b"), Reason.PATH_INVALID),
    ("overlong-three", get(target=b"/a%e0%80%af"), Reason.PATH_INVALID),
    ("surrogate", get(target=b"/a%ed%a0%80"), Reason.PATH_INVALID),
    ("lone-continuation", get(target=b"/a%80"), Reason.PATH_INVALID),
    ("latin-1", get(target=b"/caf%e9"), Reason.PATH_INVALID),
    ("raw-high-byte", get(target=b"/caf\xc3\xa9"), Reason.PATH_INVALID),
    ("broken-encoding", get(target=b"/a%zz"), Reason.PATH_INVALID),
    ("broken-encoding-end", get(target=b"/a%2"), Reason.PATH_INVALID),
    ("percent-u", get(target=b"/a%u002e"), Reason.PATH_INVALID),
    ("fragment", get(target=b"/a#b"), Reason.PATH_INVALID),
    ("fragment-in-query", get(target=b"/a?b#c"), Reason.PATH_INVALID),
    ("direction-override", get(target=b"/a%e2%80%aeb"), Reason.PATH_INVALID),
    ("next-line", get(target=b"/a%c2%85b"), Reason.PATH_INVALID),
    ("quote", get(target=b'/a"b'), Reason.PATH_INVALID),
    ("braces", get(target=b"/{a}"), Reason.PATH_INVALID),
    ("pipe", get(target=b"/a|b"), Reason.PATH_INVALID),
]

_CONNECTION = [
    (f"connection-names-{name.decode()}", get(b"Connection: close, " + name), Reason.CONNECTION_HEADER)
    for name in (
        b"Host",
        b"Authorization",
        b"X-API-Key",
        b"Forwarded",
        b"X-Forwarded-For",
        b"x-forwarded-proto",
        b"X-Real-IP",
        b"Interlock-Identity",
        b"interlock_identity",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Type",
        b"Cookie",
        b"Origin",
        b"Via",
        b"Connection",
        b"Traceparent",
        b"Sec-Fetch-Site",
    )
]

_UPGRADES = [
    ("upgrade-websocket", get(b"Connection: Upgrade", b"Upgrade: websocket"), Reason.UPGRADE_REFUSED),
    ("upgrade-unknown", get(b"Connection: upgrade", b"Upgrade: foo"), Reason.UPGRADE_REFUSED),
    ("upgrade-not-named", get(b"Upgrade: websocket"), Reason.UPGRADE_REFUSED),
    ("upgrade-twice", get(b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: h2c"), Reason.UPGRADE_REFUSED),
    ("upgrade-list", get(b"Connection: upgrade", b"Upgrade: h2c, websocket"), Reason.UPGRADE_REFUSED),
    (
        "upgrade-with-length",
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        Reason.UPGRADE_REFUSED,
    ),
    (
        "upgrade-with-chunks",
        post(b"Connection: Upgrade", b"Upgrade: h2c", TE, body=CHUNKS),
        Reason.UPGRADE_REFUSED,
    ),
    (
        "upgrade-websocket-with-body",
        post(b"Connection: Upgrade", b"Upgrade: websocket", CL, body=b"hello"),
        Reason.UPGRADE_REFUSED,
    ),
]

_CHUNKS = [
    ("size-plus", chunked(b"+5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-minus", chunked(b"-5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-underscore", chunked(b"0_5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-empty", chunked(b"\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-only-extension", chunked(b";a=b\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-leading-space", chunked(b" 5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-trailing-space", chunked(b"5 \r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-trailing-tab", chunked(b"5\t\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-space-extension", chunked(b"5 ;a=b\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-not-hex", chunked(b"5g\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-comma", chunked(b"5,5\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-17-digits", chunked(b"00000000000000005\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-wraps-64", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-wraps-32-with-17", chunked(b"00000000100000005\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-fullwidth", chunked(b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-nul", chunked(b"5\x00\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-bare-lf", chunked(b"5\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-bare-cr", chunked(b"5\rhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-lf-in-extension", chunked(b"5;a\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-cr-in-extension", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-nul-in-extension", chunked(b"5;a\x00\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-long-extension", chunked(b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("size-endless-extension", chunked(b"5;" + b"a" * 100_000), Reason.MALFORMED_BODY),
    ("extensions-many", chunked((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 200 + b"0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("data-too-long", chunked(b"5\r\nhello!\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("data-too-short", chunked(b"6\r\nhello\r\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("data-bare-lf", chunked(b"5\r\nhello\n0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("data-bare-cr", chunked(b"5\r\nhello\r0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("data-no-end", chunked(b"5\r\nhello0\r\n\r\n"), Reason.MALFORMED_BODY),
    ("last-bare-lf", chunked(b"5\r\nhello\r\n0\n\n"), Reason.MALFORMED_BODY),
    ("last-end-bare-lf", chunked(b"5\r\nhello\r\n0\r\n\n"), Reason.MALFORMED_BODY),
    ("last-end-bare-cr", chunked(b"5\r\nhello\r\n0\r\n\rX"), Reason.MALFORMED_BODY),
    ("trailer-no-colon", chunked(b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-no-name", chunked(b"5\r\nhello\r\n0\r\n: x\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-space-before-colon", chunked(b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-folded", chunked(b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-nul", chunked(b"5\r\nhello\r\n0\r\nX: y\x00\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-bare-lf", chunked(b"5\r\nhello\r\n0\r\nX: y\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-bare-cr", chunked(b"5\r\nhello\r\n0\r\nX: y\rZ: a\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-request-line", chunked(b"0\r\nGET /admin HTTP/1.1\r\nX: y\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-length", chunked(b"0\r\nContent-Length: 99\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-coding", chunked(b"0\r\ntransfer-encoding: chunked\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailer-host", chunked(b"0\r\nHost: internal.example\r\n\r\n"), Reason.MALFORMED_BODY),
    ("trailers-many", chunked(b"0\r\n" + b"X: y\r\n" * 100 + b"\r\n"), Reason.MALFORMED_BODY),
    ("trailers-large", chunked(b"0\r\n" + (b"X: " + b"y" * 4000 + b"\r\n") * 3 + b"\r\n"), Reason.MALFORMED_BODY),
    ("trailer-endless", chunked(b"0\r\nX: " + b"y" * 100_000), Reason.MALFORMED_BODY),
]

_SIZES = [
    ("field-large", get(b"X: " + b"a" * 40_000), Reason.HEAD_TOO_LARGE),
    ("field-endless", b"GET /a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000, Reason.HEAD_TOO_LARGE),
    ("name-endless", b"GET /a HTTP/1.1\r\n" + HOST + b"a" * 100_000, Reason.HEAD_TOO_LARGE),
    ("fields-many", get(*(b"X-%d: y" % number for number in range(120))), Reason.HEAD_TOO_LARGE),
    ("fields-empty-many", get(*(b"X:" for _ in range(5000))), Reason.HEAD_TOO_LARGE),
    ("target-long", get(target=b"/" + b"a" * 9_000), Reason.TARGET_TOO_LONG),
    ("query-long", get(target=b"/a?" + b"a" * 9_000), Reason.TARGET_TOO_LONG),
    ("target-endless", b"GET /" + b"a" * 20_000, Reason.TARGET_TOO_LONG),
    ("method-without-end", b"G" * 100, Reason.MALFORMED_HEAD),
]

_BEHIND: list[tuple[str, bytes, Reason, tuple[tuple[str, bytes, bytes], ...]]] = [
    ("behind-get-bad-line", get() + b"leftover" + SMUGGLED, Reason.METHOD_UNKNOWN, (("GET", b"/a", b""),)),
    (
        "behind-body-one-byte-more",
        post(CL, body=b"hello!") + SMUGGLED,
        Reason.METHOD_UNKNOWN,
        (("POST", b"/a", b"hello"),),
    ),
    (
        "behind-chunks-cl-te",
        chunked(CHUNKS) + post(b"Content-Length: 6", TE, body=b"0\r\n\r\nX"),
        Reason.AMBIGUOUS_FRAMING,
        (("POST", b"/a", b"hello"),),
    ),
    (
        "behind-get-body-bad-host",
        get(CL) + b"hello" + get(host=b"Host: internal.example\r\nHost: api.example\r\n"),
        Reason.HOST_INVALID,
        (("GET", b"/a", b"hello"),),
    ),
    (
        "behind-two-dots",
        get() + get(target=b"/b") + get(target=b"/a/../admin"),
        Reason.PATH_INVALID,
        (("GET", b"/a", b""), ("GET", b"/b", b"")),
    ),
    (
        "behind-trailers-bad-chunk",
        chunked(b"0\r\nAuthorization: Bearer x\r\n\r\n") + chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
        Reason.MALFORMED_BODY,
        (("POST", b"/a", b""),),
    ),
]

_ACCEPTED: list[tuple[str, bytes, tuple[tuple[str, bytes, bytes], ...]]] = [
    ("plain", get(), (("GET", b"/a", b""),)),
    ("one-empty-line-first", b"\r\n" + get(), (("GET", b"/a", b""),)),
    ("http-1.0", get(version=b"HTTP/1.0"), (("GET", b"/a", b""),)),
    ("http-1.0-body", post(CL, body=b"hello", version=b"HTTP/1.0"), (("POST", b"/a", b"hello"),)),
    ("absolute-form", get(target=b"http://api.example/a"), (("GET", b"http://api.example/a", b""),)),
    ("absolute-form-upper", get(target=b"HTTP://API.example/a"), (("GET", b"HTTP://API.example/a", b""),)),
    ("absolute-form-port", get(target=b"http://api.example:80/a"), (("GET", b"http://api.example:80/a", b""),)),
    ("host-port", get(host=b"Host: api.example:8080\r\n"), (("GET", b"/a", b""),)),
    ("host-ipv6", get(host=b"Host: [2001:db8::1]:8080\r\n"), (("GET", b"/a", b""),)),
    ("host-root-dot", get(host=b"Host: api.example.\r\n"), (("GET", b"/a", b""),)),
    ("no-space-after-colon", get(b"X:y"), (("GET", b"/a", b""),)),
    ("spaces-around-value", get(b"X:  y \t"), (("GET", b"/a", b""),)),
    ("empty-value", get(b"X:", b"Y: "), (("GET", b"/a", b""),)),
    ("value-with-colon", get(b"X:y: z", b"Y: a:b"), (("GET", b"/a", b""),)),
    ("value-with-high-bytes", get(b"X: caf\xc3\xa9 \xff"), (("GET", b"/a", b""),)),
    ("strange-name", get(b"!#$%&'*+-.^_`|~: x"), (("GET", b"/a", b""),)),
    ("query-with-anything", get(target=b"/a?b=/../%00&c=//;[]%"), (("GET", b"/a?b=/../%00&c=//;[]%", b""),)),
    ("content-length", post(CL, body=b"hello"), (("POST", b"/a", b"hello"),)),
    ("content-length-spaces", post(b"Content-Length:  5 ", body=b"hello"), (("POST", b"/a", b"hello"),)),
    ("content-length-zeros", post(b"Content-Length: 0005", body=b"hello"), (("POST", b"/a", b"hello"),)),
    ("content-length-0", post(b"Content-Length: 0"), (("POST", b"/a", b""),)),
    ("get-with-body", get(CL) + b"hello", (("GET", b"/a", b"hello"),)),
    ("post-without-length", post(), (("POST", b"/a", b""),)),
    ("chunks", chunked(CHUNKS), (("POST", b"/a", b"hello"),)),
    ("chunks-upper-case", post(b"Transfer-Encoding: CHUNKED", body=CHUNKS), (("POST", b"/a", b"hello"),)),
    ("chunks-tab", post(b"Transfer-Encoding:\tchunked ", body=CHUNKS), (("POST", b"/a", b"hello"),)),
    (
        "chunks-hex",
        chunked(b"A\r\n0123456789\r\nb\r\n0123456789a\r\n000\r\n\r\n"),
        (("POST", b"/a", b"0123456789" * 2 + b"a"),),
    ),
    ("chunks-extension", chunked(b"5;a=b;c\r\nhello\r\n0;x\r\n\r\n"), (("POST", b"/a", b"hello"),)),
    ("chunks-16-digits", chunked(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), (("POST", b"/a", b"hello"),)),
    ("chunks-of-one", chunked(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"), (("POST", b"/a", b"x" * 5000),)),
    ("trailers", chunked(b"5\r\nhello\r\n0\r\nX: y\r\nZ:a\r\n\r\n"), (("POST", b"/a", b"hello"),)),
    (
        "trailer-authorization",
        chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nX-API-Key: y\r\n\r\n"),
        (("POST", b"/a", b"hello"),),
    ),
    (
        "underscore-names",
        post(CL, b"Content_Length: 99", b"Transfer_Encoding: chunked", body=b"hello"),
        (("POST", b"/a", b"hello"),),
    ),
    ("body-like-a-request", post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), (("POST", b"/a", SMUGGLED),)),
    ("pipelined", get() + get(target=b"/b"), (("GET", b"/a", b""), ("GET", b"/b", b""))),
    (
        "pipelined-bodies",
        chunked(CHUNKS) + post(CL, body=b"world") + get(target=b"/b"),
        (("POST", b"/a", b"hello"), ("POST", b"/a", b"world"), ("GET", b"/b", b"")),
    ),
    (
        "pipelined-empty-line",
        post(CL, body=b"hello") + b"\r\n" + get(target=b"/b"),
        (("POST", b"/a", b"hello"), ("GET", b"/b", b"")),
    ),
    (
        "pipelined-after-trailers",
        chunked(b"0\r\nAuthorization: Bearer x\r\n\r\n") + get(target=b"/b"),
        (("POST", b"/a", b""), ("GET", b"/b", b"")),
    ),
    ("expect-continue", post(b"Expect: 100-Continue", CL, body=b"hello"), (("POST", b"/a", b"hello"),)),
    (
        "upgrade-h2c-ignored",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
        + get(target=b"/b"),
        (("GET", b"/a", b""), ("GET", b"/b", b"")),
    ),
    ("te-trailers", get(b"TE: trailers", b"Connection: TE"), (("GET", b"/a", b""),)),
]

REFUSED: tuple[Case, ...] = tuple(
    Case(name, raw, reason)
    for name, raw, reason in (
        *_FRAMING,
        *_HEAD,
        *_HOSTS,
        *_TARGETS,
        *_CONNECTION,
        *_UPGRADES,
        *_CHUNKS,
        *_SIZES,
    )
) + tuple(Case(name, raw, reason, messages) for name, raw, reason, messages in _BEHIND)
ACCEPTED: tuple[Case, ...] = tuple(Case(name, raw, None, messages) for name, raw, messages in _ACCEPTED)
CASES: tuple[Case, ...] = REFUSED + ACCEPTED
