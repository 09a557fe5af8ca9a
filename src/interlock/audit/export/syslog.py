"""Syslog messages (RFC 5424), and how they are counted on a stream (RFC 5425, 4.3; RFC 6587, 3.4.1).

Facility 13, log audit. The structured data are `interlock@32473`: 32473 is the number that RFC 5612 keeps for
those who have none of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from interlock.audit.export.words import gravity, summary
from interlock.audit.joined import Joined
from interlock.audit.segment import format_id

SD_ID = "interlock@32473"
_FACILITY = 13
_SEVERITY = (6, 5, 4, 3, 1)  # by gravity: informational, notice, warning, error, alert
_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "]": "\\]"})
_NAMES = {"id": "id", "trace_id": "trace", "duration_ms": "duration"}
_LEFT_OUT = frozenset({"time", "event", "bytes", "reasons", "details"})


def message(joined: Joined, host: str, text: str = "", *, data: bool = True) -> bytes:
    """One message; `text` in place of a summary, and `data`: with structured data."""
    row = joined.row
    priority = 8 * _FACILITY + _SEVERITY[gravity(joined)]
    structured = _structured(joined) if data else "-"
    head = f"<{priority}>1 {row['time']} {header_word(host, 255)} interlock - {header_word(row['event'], 32)} "
    line = (text or summary(joined)).replace("\r", " ").replace("\n", " ")
    # The byte order mark says that what follows is UTF-8 (6.4); CEF's readers do not expect one.
    return f"{head}{structured} {'' if text else chr(0xFEFF)}{line}".encode("utf-8", "backslashreplace")


def counted(data: bytes) -> bytes:
    """The message as it travels: its length in bytes, a blank, and itself."""
    return b"%d %b" % (len(data), data)


def header_word(text: str, longest: int) -> str:
    """Printable ASCII without blanks, or `-` for nothing (6)."""
    word = "".join(c if "!" <= c <= "~" else "?" for c in text)[:longest]
    return word or "-"


def _structured(joined: Joined) -> str:
    made = " ".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in _params(joined))
    return f"[{SD_ID} {made}]"


def _params(joined: Joined) -> Iterator[tuple[str, str]]:
    for key, value in joined.row.items():
        if key in _LEFT_OUT or value in (None, "", [], {}):
            continue
        yield _NAMES.get(key, key), _plain(value)
    for name in ("details", "reasons"):
        for key, value in (joined.row.get(name) or {}).items():
            yield _param_name(f"{name}.{key}"), _plain(value)
    if len(joined.records) > 1:
        yield "outcome_id", format_id(joined.records[1])


def _param_name(text: str) -> str:
    """An SD-NAME (6.3.3): at most 32 printable characters, none of `= ] "` or a blank."""
    return "".join(c if "!" <= c <= "~" and c not in '=]"' else "_" for c in text)[:32]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(part) for part in value)
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
