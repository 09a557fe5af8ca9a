"""ArcSight's Common Event Format, version 0 of its syntax (Implementing ArcSight CEF, revision 25).

    CEF:0|Interlock|Interlock|version|event|what happened|severity 0..10|key=value key=value

In the header `\\` and `|` are escaped, in values of the extension `\\`, `=` and line breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from interlock import __version__
from interlock.audit.export.words import gravity, summary
from interlock.audit.joined import Joined
from interlock.audit.segment import format_id

_SEVERITY = (1, 4, 6, 8, 10)  # by gravity
_HEADER = str.maketrans({"\\": "\\\\", "|": "\\|", "\r": " ", "\n": " "})
_VALUE = str.maketrans({"\\": "\\\\", "=": "\\=", "\r": "\\r", "\n": "\\n"})


def line(joined: Joined) -> str:
    """One event, without a line break."""
    row = joined.row
    signature = f"{row['event']}:{row['reason']}" if row.get("reason") else row["event"]
    head = "|".join(
        str(part).translate(_HEADER)
        for part in ("Interlock", "Interlock", __version__, signature, _name(joined), _SEVERITY[gravity(joined)])
    )
    extension = " ".join(f"{key}={_text(value).translate(_VALUE)}" for key, value in _extension(joined))
    return f"CEF:0|{head}|{extension}"


def _name(joined: Joined) -> str:
    """The same for all events of a kind, so that they can be grouped by it."""
    if joined.kind == "acts":
        return str(joined.row["event"])
    return {
        "call:intent": "Call passed",
        "call:refused": "Call refused",
        "call:refusals": "Calls refused, counted",
        "tls:refused": "TLS handshake refused",
    }[joined.row["event"]]


def _extension(joined: Joined) -> Iterator[tuple[str, Any]]:
    row = joined.row
    yield "rt", joined.time_ns // 1_000_000
    yield "end", joined.ended_ns // 1_000_000
    yield "externalId", row["id"]
    if joined.kind == "acts":
        yield "suser", row["actor"]
        yield "msg", f"{summary(joined)} {msgspec.json.encode(row['details'], enc_hook=str).decode()}"
        return
    yield "act", row["decision"]
    yield "outcome", row["outcome"]
    source = row["source"]
    if ":" in source:
        yield "c6a2", source
        yield "c6a2Label", "Source IPv6 Address"
    elif source:
        yield "src", source
    for key, name in (
        ("principal", "suser"),
        ("action", "requestMethod"),
        ("resource", "request"),
        ("host", "dhost"),
        ("service", "destinationServiceName"),
        ("reason", "reason"),
        ("bytes_in", "in"),
        ("bytes_out", "out"),
        ("count", "cnt"),
        ("note", "msg"),
    ):
        if row.get(key) not in (None, ""):
            yield name, row[key]
    for number, (key, label) in enumerate(
        (("route", "Route"), ("trace_id", "Trace"), ("credential", "Credential"), ("methods", "Authenticated by")), 1
    ):
        if row.get(key):
            yield f"cs{number}", row[key]
            yield f"cs{number}Label", label
    if len(joined.records) > 1:
        yield "cs5", format_id(joined.records[1])
        yield "cs5Label", "Outcome record"
    if row.get("status") is not None:
        yield "cn1", row["status"]
        yield "cn1Label", "HTTP status"
    if row.get("duration_ms") is not None:
        yield "cfp1", row["duration_ms"]
        yield "cfp1Label", "Duration ms"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\r\n" else repr(c)[1:-1] for c in text)
