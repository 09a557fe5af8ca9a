"""Payloads: arrays that grow at the end only."""

from __future__ import annotations

import msgspec
import pytest

from interlock.audit import Act, HandshakeRefused, Intent, Outcome, Progress, Refusals, Refused, encode
from interlock.audit.entries import Entry, SegmentEnd, SubjectFrame, decode
from interlock.errors import RecordError
from interlock.model import Event, Reason

EXAMPLES: list[tuple[Event, Entry, list[object]]] = [
    (Event.CALL_INTENT, Intent("p", ("jwt",), "GET", "h", "r", "/", "s", "up", "t", "durable", "k"),
     ["p", ["jwt"], "GET", "h", "r", "/", "s", "up", "t", "durable", "k"]),
    (Event.CALL_OUTCOME, Outcome(200, "", 1, 2, 3, "u", "n"), [200, "", 1, 2, 3, "u", "n"]),
    (Event.CALL_PROGRESS, Progress(1, 2, 3), [1, 2, 3]),
    (Event.CALL_REFUSED, Refused("p", (), "GET", "h", "r", "/", "s", "no-route", 404, "n", 5, "t", "up", "k", 6),
     ["p", [], "GET", "h", "r", "/", "s", "no-route", 404, "n", 5, "t", "up", "k", 6]),
    (Event.CALL_REFUSALS, Refusals("s", 2, {"no-route": 2}, 1, 2, "n"), ["s", 2, {"no-route": 2}, 1, 2, "n"]),
    (Event.TLS_REFUSED, HandshakeRefused("s", "r", "l", "n", "x", "f"), ["s", "r", "l", "n", "x", "f"]),
    (Event.NODE_START, Act("a", {"x": [1]}, {"principal": 7}), ["a", {"x": [1]}, {"principal": 7}]),
    (Event.CALL_INTENT, Intent(3, ("jwt",), "GET", "h", "r", ["/a/", 5, "/b"], 4, "up", "t", "durable", 3),
     [3, ["jwt"], "GET", "h", "r", ["/a/", 5, "/b"], 4, "up", "t", "durable", 3]),
    (Event.RECORD_SUBJECT, SubjectFrame(1, b"w", b"s"), [1, b"w", b"s"]),
    (Event.SEGMENT_END, SegmentEnd(5), [5]),
]  # fmt: skip


@pytest.mark.parametrize(("event", "entry", "array"), EXAMPLES, ids=lambda value: str(value)[:20])
def test_the_bytes_are_one_array(event: Event, entry: Entry, array: list[object]) -> None:
    assert msgspec.msgpack.decode(encode(entry)) == array
    assert decode(event, encode(entry)) == entry
    assert decode(event, msgspec.msgpack.encode([*array, "from a later version"])) == entry


def test_old_records_lack_the_newest_fields() -> None:
    assert decode(Event.NODE_START, msgspec.msgpack.encode(["a", {}])) == Act("a", {})
    assert decode(Event.CALL_OUTCOME, msgspec.msgpack.encode([204])) == Outcome(204)


def test_a_reason_is_written_as_its_code() -> None:
    assert msgspec.msgpack.decode(encode(Outcome(502, Reason.UPSTREAM_INVALID)))[1] == "upstream-invalid"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x98\x01",
        b"\x92\x01\xa1\xff",
        msgspec.msgpack.encode(["x"]),
        msgspec.msgpack.encode({"status": 1}),
    ],
)
def test_what_is_no_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(RecordError):
        decode(Event.CALL_OUTCOME, payload)


def test_every_event_can_be_read() -> None:
    for event in Event:
        if event not in {example[0] for example in EXAMPLES}:
            assert decode(event, encode(Act("a", {}))) == Act("a", {})
