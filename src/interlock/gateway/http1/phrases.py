"""Status lines."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_LINES: Final[dict[int, bytes]] = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus
}


def status_line(status: int, phrase: bytes = b"") -> bytes:
    """The standard line of a status; `phrase` serves only a status that has none of its own."""
    line = _LINES.get(status)
    if line is None:
        return b"HTTP/1.1 %d %b\r\n" % (status, phrase)
    return line
