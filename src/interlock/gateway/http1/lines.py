"""Field lines: whole, ended by CRLF and nothing else, each with a name that is a token.

Optional whitespace around values is left where it is harmless; no line MUST be joined to another.
"""

from __future__ import annotations

from typing import Final

from interlock.gateway.http1.limits import ReadLimits
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.names import Names
from interlock.model import Reason

_CONTROLS: Final = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"  # all but HTAB


def split_lines(raw: bytes, limits: ReadLimits) -> list[bytes]:
    """Lines with their CRLF, the last of them empty; nothing that any parser could take for a line's end."""
    if len(raw) > limits.head_size:
        raise Malformed(Reason.HEAD_TOO_LARGE, "bytes")
    lines = raw.splitlines(True)  # at CR LF, at a bare CR and at a bare LF
    count = len(lines)
    if len(raw.translate(None, _CONTROLS)) != len(raw) - 2 * count:  # two for each line, and no others
        bare = raw.count(b"\r") != count or raw.count(b"\n") != count
        raise Malformed(Reason.MALFORMED_HEAD, "bare CR or LF" if bare else "control character")
    if count < 2 or lines[-1] != b"\r\n":
        raise Malformed(Reason.MALFORMED_HEAD, "not ended by an empty line")
    if count - 2 > limits.head_count:
        raise Malformed(Reason.HEAD_TOO_LARGE, "fields")
    return lines


def unfamiliar(line: bytes, names: Names) -> tuple[bytes, bytes, int]:
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


def pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Lines as (lower-case name, value)."""
    found = []
    for line in lines:
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip(b" \t\r\n")))
    return found
