"""Problem documents (RFC 9457): all that a refused caller is told.

A title, a status and a reference into the record. The reason itself and its note MUST NOT be in it.
"""

from __future__ import annotations

import msgspec

from interlock.model import Reason, Refusal

_FIELDS: tuple[bytes, ...] = (
    b"content-type: application/problem+json\r\n",
    b"cache-control: no-store\r\n",
    b"x-content-type-options: nosniff\r\n",
)


def _beginning(reason: Reason) -> bytes:
    kind = reason.title.lower().replace(" ", "-")
    document = {"type": f"urn:interlock:problem:{kind}", "title": reason.title, "status": reason.status}
    return msgspec.json.encode(document).removesuffix(b"}")


_BEGINNINGS: dict[Reason, bytes] = {reason: _beginning(reason) for reason in Reason}


def problem(refusal: Refusal, reference: str) -> tuple[list[bytes], bytes]:
    """Field lines and body for a refusal; `reference` names its record, empty if there is none."""
    fields = list(_FIELDS)
    for name, value in refusal.headers:
        fields.append(b"%b: %b\r\n" % (name, value))
    body = _BEGINNINGS[refusal.reason]
    if reference:
        body += b',"instance":' + msgspec.json.encode(f"urn:interlock:call:{reference}")
    return fields, body + b"}\n"
