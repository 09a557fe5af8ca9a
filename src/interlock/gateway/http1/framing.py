"""The fields that say where a body ends and what becomes of the connection (RFC 9112 sections 6 and 9).

Stricter than the standard wherever two recipients could read them differently.
"""

from __future__ import annotations

from typing import Final

from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import is_ours
from interlock.model import Reason

_DIGITS: Final = 18  # of a Content-Length; more than any body has, less than any integer overflows at
SILENT: Final = frozenset((b"close", b"keep-alive"))  # options that name no field
_USUAL: Final = {value: frozenset((value.lower(),)) for value in (b"close", b"Close", b"keep-alive", b"Keep-Alive")}

# Fields that a peer must not have removed by naming them in `Connection` (RFC 9110 section 7.6.1).
_NEVER_HOP_BY_HOP: Final = frozenset(
    b"host authorization x-api-key dpop dpop-nonce content-length content-type content-encoding transfer-encoding "
    b"cookie set-cookie forwarded via origin referer x-real-ip expect range date cache-control www-authenticate "
    b"location traceparent tracestate connection age vary".split()
)
_NEVER_PREFIXES: Final = (
    b"x-forwarded",
    b"access-control-",
    b"if-",
    b"sec-",
    b"content-",
    b"interlock",
    b"x-interlock",
)


def content_length(value: bytes, before: int) -> int:
    """The number in a Content-Length; `before`: what an earlier one said, -1 if there was none."""
    if before >= 0:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "more than one Content-Length")
    if len(value) > _DIGITS or not value.isdigit():  # of bytes: ASCII digits only
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Content-Length is not a number")
    return int(value)


def only_chunked(value: bytes, encodings: int, http10: bool) -> None:
    """Refuse a Transfer-Encoding that is not exactly `chunked`; `encodings`: how many there were with it."""
    if encodings > 1:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "more than one Transfer-Encoding")
    if http10:
        raise Malformed(Reason.AMBIGUOUS_FRAMING, "Transfer-Encoding on HTTP/1.0")
    if value.lower() != b"chunked":
        raise Malformed(Reason.TRANSFER_CODING, "not exactly chunked")


def connection_options(value: bytes) -> frozenset[bytes]:
    """The lower-case options of a Connection field; `Malformed` if it names a field that must stay."""
    usual = _USUAL.get(value)
    if usual is not None:
        return usual
    options = frozenset(option.strip(b" \t").lower() for option in value.split(b",")) - {b""}
    for option in options:
        if option in _NEVER_HOP_BY_HOP or option.startswith(_NEVER_PREFIXES) or is_ours(option):
            raise Malformed(Reason.CONNECTION_HEADER, option.decode("latin-1"))
    return options


def keeps_alive(options: frozenset[bytes], http10: bool) -> bool:
    """Whether the connection outlives the message (RFC 9112 section 9.3)."""
    return b"close" not in options and (not http10 or b"keep-alive" in options)


def without_named(lines: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """The lines whose names are not among `named`."""
    return [line for line in lines if line.partition(b":")[0].lower() not in named]
