"""Each form of an export by its name, as the bytes that go on the wire, delimiters included."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from interlock.audit.export import cef, ocsf, syslog
from interlock.audit.joined import Joined
from interlock.audit.segment import format_id

Form = Callable[[Joined], bytes]

_json = msgspec.json.Encoder(enc_hook=str).encode


def form(name: str, host: str, *, framed: bool = False) -> Form:
    """What makes bytes of a row. `host`: this machine's name.

    `framed`: for a stream, where syslog and CEF travel as RFC 5424 messages with octet counting (RFC 5425,
    4.3); else each is a line.
    """
    if name == "jsonl":
        return _row
    if name == "ocsf":
        return lambda joined: _json(ocsf.event(joined)) + b"\n"
    if name == "cef" and not framed:
        return lambda joined: cef.line(joined).encode() + b"\n"
    messages: dict[str, Form] = {
        "cef": lambda joined: syslog.message(joined, host, cef.line(joined), data=False),
        "syslog": lambda joined: syslog.message(joined, host),
    }
    made = messages[name]
    return (lambda joined: syslog.counted(made(joined))) if framed else (lambda joined: made(joined) + b"\n")


def _row(joined: Joined) -> bytes:
    """The row of a query; of a call also which record has its outcome."""
    row = joined.row
    if len(joined.records) > 1:
        row = {**row, "outcome_id": format_id(joined.records[1])}
    return _json(row) + b"\n"
