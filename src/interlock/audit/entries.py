"""What is inside a frame: one msgpack array per kind of record.

Fields are only ever added at the end, with a default, so that old records stay readable and old readers
can read new records. Nothing here may hold a secret: a credential is named by its id, never shown.

What identifies somebody is a number where its segment has subjects: the sequence of the frame `record:subject`
of the same segment that holds it (`subjects.py`). Text there stands for itself: of a segment without
subjects, or of nobody.
"""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.errors import RecordError
from interlock.model import Event

Named = str | int  # an identifying value, or the sequence of its subject frame
Path = str | list[str | int]  # a path, or the pieces of one, to be joined

UNKNOWN = "unknown"  # the reason of an outcome that nobody lived to write


class Intent(msgspec.Struct, array_like=True):
    """A call that every layer agreed to, before it passes."""

    principal: Named
    methods: tuple[str, ...]  # how the caller was authenticated
    action: str  # the HTTP method
    host: str
    route: str
    resource: Path
    source: Named  # the caller's address
    service: str
    trace: str = ""
    mode: str = "written"  # or "durable"
    credential: Named = ""  # as a number, the principal's


class Outcome(msgspec.Struct, array_like=True):
    """How a call ended; its frame refers to the intent."""

    status: int  # 0: no answer was given
    reason: str = ""  # empty: the upstream's own answer was passed on
    duration_ns: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    upstream: str = ""
    note: str = ""


class Progress(msgspec.Struct, array_like=True):
    """A long call goes on; its frame refers to the intent."""

    duration_ns: int
    bytes_in: int
    bytes_out: int


class Refused(msgspec.Struct, array_like=True):
    """A call that did not pass: intent and outcome in one."""

    principal: Named
    methods: tuple[str, ...]
    action: str
    host: str
    route: str
    resource: Path
    source: Named
    reason: str
    status: int
    note: str = ""
    duration_ns: int = 0
    trace: str = ""
    service: str = ""
    credential: Named = ""
    bytes_out: int = 0


class Refusals(msgspec.Struct, array_like=True):
    """A flood of refusals from one source, counted."""

    source: Named
    count: int
    reasons: dict[str, int]
    since_ns: int
    until_ns: int = 0
    note: str = ""


class HandshakeRefused(msgspec.Struct, array_like=True):
    """A TLS handshake that failed before there was a call."""

    source: Named
    reason: str
    listener: str = ""
    server_name: str = ""
    note: str = ""
    fingerprint: str = ""


class Act(msgspec.Struct, array_like=True):
    """Something an operator or one of our processes did. `details` are plain JSON values."""

    actor: Named
    details: dict[str, Any]
    subjects: dict[str, int] = {}  # details that identify somebody, and are not in `details`


class SubjectFrame(msgspec.Struct, array_like=True):
    """Whom later records of the segment refer to; only `subjects.py` can say who it is."""

    version: int
    wrapped: bytes
    sealed: bytes


class SegmentEnd(msgspec.Struct, array_like=True):
    """The last frame of a segment that was closed in good order."""

    count: int  # frames before this one


Entry = Intent | Outcome | Progress | Refused | Refusals | HandshakeRefused | Act | SubjectFrame | SegmentEnd

_TYPES: dict[Event, type[Entry]] = {
    Event.CALL_INTENT: Intent,
    Event.CALL_OUTCOME: Outcome,
    Event.CALL_REFUSED: Refused,
    Event.CALL_REFUSALS: Refusals,
    Event.CALL_PROGRESS: Progress,
    Event.TLS_REFUSED: HandshakeRefused,
    Event.RECORD_SUBJECT: SubjectFrame,
    Event.SEGMENT_END: SegmentEnd,
}
_DECODERS = {event: msgspec.msgpack.Decoder(_TYPES.get(event, Act)) for event in Event}

encode = msgspec.msgpack.Encoder().encode


def decode(event: Event, payload: bytes) -> Entry:
    """Read what `encode` wrote for a frame of this event."""
    try:
        return _DECODERS[event].decode(payload)
    except ValueError as error:  # msgspec's, or bytes that are not UTF-8
        raise RecordError(f"a record of {event} cannot be read") from error
