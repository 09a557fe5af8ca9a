"""What the system behind is sent, read by h11: the same request, and nothing beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import h11
import pytest

from interlock.gateway.call import Call
from interlock.gateway.fields import forwarded_head
from interlock.gateway.http1 import METHODS, parse_request_head
from interlock.gateway.paths import canonicalize
from tests.corpus.smuggling import ACCEPTED, Case
from tests.unit.gateway.reading import read

ASSERTION = b"interlock-identity: signed\r\n"
AUTHORITY = b"ledger.internal:9000"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def sent(raw: bytes) -> bytes:
    head = parse_request_head(raw)
    call = SimpleNamespace(
        head=head,
        method=head.method,
        peer=SimpleNamespace(address="192.0.2.7", scheme="http", trusted=False),
        target=canonicalize(head.target, head.host),
        route=SimpleNamespace(forward_credentials=False, own=False, pool=SimpleNamespace(authority=AUTHORITY)),
        source="192.0.2.7",
        trace=TRACE,
    )
    return forwarded_head(cast(Call, call), ASSERTION)


def by_h11(raw: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_one_request_comes_out(case: Case) -> None:
    start = -1
    for message in read([case.raw]).messages:
        start = case.raw.index(b"%b %b " % (message.head.method.encode(), message.head.target), start + 1)
        raw = case.raw[start : case.raw.index(b"\r\n\r\n", start) + 4]
        out = sent(raw)
        assert out.count(b"\r\n\r\n") == 1
        assert out.endswith(b"\r\n\r\n")
        request = by_h11(out)
        assert METHODS[request.method] == message.head.method
        assert message.target is not None
        assert request.target == message.target.wire
        assert request.http_version == b"1.1"
        names = [name for name, _ in request.headers]
        assert names.count(b"host") == 1
        assert dict(request.headers)[b"host"] == AUTHORITY
        assert dict(request.headers)[b"x-forwarded-host"] == message.head.host
        assert names.count(b"interlock-identity") == 1
        assert not any(b"_" in name for name in names)
        assert (b"transfer-encoding" in names) is message.head.chunked
        assert (b"content-length" in names) is (message.head.content_length >= 0)
        assert b"connection" not in names


def test_trace() -> None:
    parent = b"00-" + TRACE.encode() + b"-b7ad6b7169203331-01"
    line = b"GET /a HTTP/1.1\r\nHost: api.example\r\n"
    assert b"\r\ntraceparent: %b\r\n" % parent in sent(line + b"Traceparent: " + parent + b"\r\n\r\n")
    for other in (b"", b"Traceparent: nonsense\r\n", b"Traceparent: 00-" + b"1" * 32 + b"-b7ad6b7169203331-01\r\n"):
        out = sent(line + other + b"\r\n")
        assert out.count(b"traceparent") == 1
        assert b"\r\ntraceparent: 00-%b-8448eb211c80319c-00\r\n" % TRACE.encode() in out
