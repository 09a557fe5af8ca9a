"""One canonical path per call: the path that is matched is the path that is authorised and forwarded.

A target that two systems could read differently MUST be refused, not repaired. What is left has exactly one
reading: unreserved characters are never encoded, what is encoded has upper-case digits, there are no dot
segments, no empty segments but a last one, and the text is UTF-8.
"""

from __future__ import annotations

import re
from typing import Final

from interlock.gateway.http1 import Malformed
from interlock.model import Reason

_AUTHORITY: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
# Only single characters are repeated possessively: groups are matched wrongly so before Python 3.11.5 (gh-106052).
_PLAIN: Final = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@]++)+/?|/")  # unreserved / sub-delims but ";" / ":" / "@"
_PATH: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]++|%[0-9A-Fa-f]{2})*")
_QUERY: Final = re.compile(rb"[\x21\x22\x24-\x7e]*+")  # all that is visible but "#"; its meaning is the service's
_ENCODED_TWICE: Final = re.compile(rb"%25[0-9A-Fa-f]{2}")
_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS: Final = (b":80", b":443")


class Target:
    """A canonical request target (RFC 9112 section 3.2.1)."""

    __slots__ = ("path", "query", "raw_path", "segments", "wire")

    def __init__(self, path: str, segments: tuple[str, ...], query: bytes, raw_path: bytes, wire: bytes) -> None:
        self.path = path  # decoded; no segment of it contains "/"
        self.segments = segments  # decoded; none for "/", and an empty last one if the path ends in "/"
        self.query = query  # without "?"; as it came
        self.raw_path = raw_path  # canonical, encoded
        self.wire = wire  # `raw_path` and the query as they are forwarded

    def __repr__(self) -> str:
        return f"Target({self.wire!r})"


def canonicalize(target: bytes, host: bytes) -> Target:
    """The canonical form of an origin-form or absolute-form target. Raises `Malformed`.

    `host` is the request's Host in lower case: an absolute-form target must name the same one.
    """
    if target[:1] != b"/":
        target = _origin_form(target, host)
    raw, mark, query = target.partition(b"?")
    if not _PLAIN.fullmatch(raw):
        raw = _repaired(raw)
    if b"/." in raw and _has_dot_segment(raw):
        raise _refused("dot segment")
    if mark and not _QUERY.fullmatch(query):
        raise _refused("characters in the query")
    text = _decoded(raw) if b"%" in raw else raw.decode("ascii")
    segments = tuple(text[1:].split("/")) if raw != b"/" else ()
    return Target(text, segments, query, raw, b"%b?%b" % (raw, query) if mark else raw)


def _refused(note: str) -> Malformed:
    return Malformed(Reason.PATH_INVALID, note)


def _origin_form(target: bytes, host: bytes) -> bytes:
    """The path and query of an absolute-form target whose authority is the Host."""
    if target == b"*":
        raise Malformed(Reason.NO_ROUTE, "asterisk-form")
    match = _AUTHORITY.fullmatch(target)
    if match is None:
        raise _refused("neither origin-form nor absolute-form")
    if _without_default_port(match[1].lower()) != _without_default_port(host):
        raise Malformed(Reason.HOST_INVALID, "absolute-form names another host")
    rest: bytes = match[2]
    return rest if rest[:1] == b"/" else b"/" + rest


def _without_default_port(authority: bytes) -> bytes:
    for port in _DEFAULT_PORTS:
        if authority.endswith(port):
            return authority.removesuffix(port)
    return authority


def _repaired(raw: bytes) -> bytes:
    """A path with anything unusual in it: canonical if it has one reading, else refused with what it has."""
    if not _PATH.fullmatch(raw):
        raise _refused(_offence(raw))
    if b"//" in raw:
        raise _refused("empty segment")
    raw = _ENCODED.sub(_canonical_octet, raw)
    if _ENCODED_TWICE.search(raw):
        raise _refused("encoded twice")
    return raw


def _canonical_octet(match: re.Match[bytes]) -> bytes:
    """An encoded octet: decoded if it need not be encoded (RFC 3986 section 6.2.2), refused if it must not be."""
    octet = int(match[1], 16)
    if octet in _UNRESERVED:
        return bytes((octet,))
    if octet < 0x20 or octet == 0x7F:
        raise _refused("encoded control character")
    if octet in b"/\\":
        raise _refused("encoded slash")
    if octet == 0x3B:
        raise _refused("path parameter")
    return b"%%%02X" % octet


def _offence(raw: bytes) -> str:
    if b";" in raw:
        return "path parameter"
    if b"\\" in raw:
        return "backslash"
    if b"#" in raw:
        return "fragment"
    if not raw.isascii():
        return "octet beyond ASCII"
    if b"%" in raw and not _PATH.fullmatch(re.sub(rb"[^%0-9A-Fa-f]", b"-", raw)):
        return "broken percent-encoding"
    return "character in the path"


def _has_dot_segment(raw: bytes) -> bool:
    return any(segment in (b".", b"..") for segment in raw.split(b"/"))


def _decoded(raw: bytes) -> str:
    """Text of a canonical path; only shortest-form UTF-8 without control characters."""
    octets = _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), raw)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("not UTF-8") from None
    if not text.isprintable():
        raise _refused("unprintable character")
    return text
