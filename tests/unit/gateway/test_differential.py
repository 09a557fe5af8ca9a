"""h11 as a second parser: what we accept, it must read as the same requests with the same bodies.

We may refuse what h11 takes, never the other way round: a request that we accept and h11 does not, or reads
otherwise, fails the test.
"""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.smuggling import ACCEPTED, CASES, REFUSED, SMUGGLED, Case, get, post
from tests.unit.gateway.reading import Conversation, cut, one_by_one, read

Seen = tuple[str, bytes, dict[bytes, list[bytes]], bytes]

FRAGMENTS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\x00",
    b"\x0b",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"hello",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 43\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: other.example\r\n",
    b" folded\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"\xff",
    SMUGGLED,
)


def by_h11(raw: bytes, wanted: int) -> list[Seen]:
    """The first `wanted` requests as h11 reads them. Raises `h11.RemoteProtocolError`."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    seen: list[Seen] = []
    while len(seen) < wanted:
        request = connection.next_event()
        assert isinstance(request, h11.Request), request
        fields: dict[bytes, list[bytes]] = {}
        for name, value in request.headers:
            fields.setdefault(name, []).append(value)
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            body += event.data
        seen.append((request.method.decode(), request.target, fields, body))
        if len(seen) < wanted:
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                break
            connection.start_next_cycle()
    return seen


def assert_same(ours: Conversation, raw: bytes) -> None:
    """Every complete request of ours is the same to h11, up to where it does not keep the connection."""
    complete = [message for message in ours.messages if message.complete]
    for number, message in enumerate(complete):
        if not message.head.keep_alive or message.head.http10:  # h11 knows no keep-alive on 1.0
            complete = complete[: number + 1]
            break
    theirs = by_h11(without_empty_lines(raw, ours), len(complete))
    assert len(theirs) == len(complete)
    for message, (method, target, fields, body) in zip(complete, theirs, strict=True):
        head = message.head
        assert method == head.method
        assert target == head.target
        assert body == message.body
        mine: dict[bytes, list[bytes]] = {}
        for name, value in head.headers:
            mine.setdefault(name, []).append(value)
        if b"transfer-encoding" in mine:  # h11 gives it in lower case
            mine[b"transfer-encoding"] = [value.lower() for value in mine[b"transfer-encoding"]]
        if b"content-length" in mine and b"content-length" in fields:
            assert int(mine.pop(b"content-length")[0]) == int(fields.pop(b"content-length")[0])
        fields.pop(b"expect", None)
        mine.pop(b"expect", None)
        assert mine == fields


def without_empty_lines(raw: bytes, ours: Conversation) -> bytes:
    """We forgive one empty line before a request (RFC 9112 section 2.2), h11 none; where, only we know."""
    pieces = b""
    at = 0
    for message in ours.messages:
        if raw[at : at + 2] == b"\r\n":
            at += 2
        start = at
        if not message.complete:
            return pieces + raw[start:]
        at = end_of(raw, start, message.head.chunked, message.head.content_length)
        pieces += raw[start:at]
    return pieces + raw[at:].removeprefix(b"\r\n")


def end_of(raw: bytes, start: int, is_chunked: bool, length: int) -> int:
    at = raw.index(b"\r\n\r\n", start) + 4
    if not is_chunked:
        return at + max(0, length)
    while size := int(raw[at : raw.index(b"\r\n", at)].partition(b";")[0], 16):
        at = raw.index(b"\r\n", at) + 2 + size + 2
    at = raw.index(b"\r\n", at)
    return raw.index(b"\r\n\r\n", at) + 4


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_h11_reads_the_accepted_alike(case: Case) -> None:
    assert_same(read([case.raw]), case.raw)
    assert_same(read([case.raw + SMUGGLED]), case.raw + SMUGGLED)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_h11_reads_alike_what_came_before_the_refusal(case: Case) -> None:
    raw = get(target=b"/before") + case.raw
    ours = read([raw])
    assert ours.problem is not None
    assert_same(ours, raw)


def test_the_comparison_can_fail() -> None:
    raw = post(b"Content-Length: 5", body=b"hello")
    ours = read([raw])
    ours.messages[0].body = b"hellO"
    with pytest.raises(AssertionError):
        assert_same(ours, raw)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One or two cases of the corpus with pieces put in, taken out or written over."""
    raw = draw(st.sampled_from(CASES)).raw[:4096]
    if draw(st.booleans()):
        raw = draw(st.sampled_from(ACCEPTED)).raw[:4096] + raw
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        fragment = draw(st.one_of(st.sampled_from(FRAGMENTS), st.binary(min_size=1, max_size=3)))
        taken = draw(st.sampled_from((0, 0, 1, 2, len(fragment))))
        raw = raw[:at] + fragment + raw[at + taken :]
    return raw


@st.composite
def assembled(draw: st.DrawFn) -> bytes:
    """A request put together from lines that are each plausible."""
    lines = [
        draw(st.sampled_from((b"GET /a HTTP/1.1", b"POST /a HTTP/1.1", b"POST /a HTTP/1.0", b"PUT /a?b=c HTTP/1.1")))
    ]
    names = (b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-Other", b"Expect", b"content-length")
    values = (
        b"api.example",
        b"5",
        b"0",
        b"12",
        b"chunked",
        b"Chunked",
        b"identity",
        b"close",
        b"keep-alive",
        b"100-continue",
        b"",
    )
    spaces = (b": ", b":", b":  ", b": ", b":\t", b" : ")
    lines.append(b"Host: api.example")
    for _ in range(draw(st.integers(0, 4))):
        name, space, value = (draw(st.sampled_from(of)) for of in (names, spaces, values))
        lines.append(name + space + value + draw(st.sampled_from((b"", b"", b" ", b"\t"))))
    ends = draw(st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n")))
    bodies = (
        b"",
        b"hello",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"c\r\nhello, world\r\n0\r\n\r\n",
    )
    return ends.join(lines) + b"\r\n\r\n" + draw(st.sampled_from(bodies)) + draw(st.sampled_from((b"", SMUGGLED)))


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_h11_reads_mutations_alike(raw: bytes) -> None:
    """Whatever is done to a request: either we refuse, or h11 reads the same."""
    assert_same(read([raw]), raw)


@settings(max_examples=600, deadline=None)
@given(assembled())
def test_h11_reads_assemblies_alike(raw: bytes) -> None:
    """However a request is put together: either we refuse, or h11 reads the same."""
    assert_same(read([raw]), raw)


def targets(conversation: Conversation) -> list[bytes]:
    return [message.head.target for message in conversation.messages if message.complete]


@settings(max_examples=250, deadline=None)
@given(st.one_of(mutated(), assembled()), st.lists(st.integers(0, 5000), max_size=6))
def test_cutting_changes_nothing(raw: bytes, places: list[int]) -> None:
    """How bytes arrive decides nothing: the same requests, and refused or not all the same."""
    whole = read([raw])
    for pieces in (cut(raw, places), one_by_one(raw)):
        parts = read(pieces)
        assert (parts.problem is None) == (whole.problem is None)
        assert [m.head.target for m in parts.messages if m.complete] == [
            m.head.target for m in whole.messages if m.complete
        ]
        if whole.problem is None:
            assert parts.seen == whole.seen
