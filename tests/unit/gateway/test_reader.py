"""A connection's messages, one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.gateway.http1 import (
    END,
    NEED_DATA,
    Malformed,
    ReadLimits,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
)
from interlock.gateway.http1.reader import MAX_INTERIM
from interlock.model import Reason
from tests.corpus.smuggling import CHUNKS, chunked, get, post
from tests.unit.gateway.reading import cut, one_by_one

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_request_without_a_body() -> None:
    reader = RequestReader()
    reader.feed(get())
    head = reader.next()
    assert isinstance(head, RequestHead)
    assert not head.has_body
    assert reader.next() is END
    assert reader.next() is NEED_DATA
    assert reader.buffered == 0


def test_nothing_is_read_ahead() -> None:
    """What is pipelined stays bytes until the present message is done, be it ever so wrong."""
    reader = RequestReader()
    reader.feed(post(b"Content-Length: 5", body=b"hello") + b"\x00nonsense\r\n\r\n")
    assert isinstance(reader.next(), RequestHead)
    assert reader.next() == b"hello"
    assert reader.next() is END
    assert reader.buffered == 13
    with pytest.raises(Malformed):
        reader.next()


def test_a_fault_is_for_ever() -> None:
    reader = RequestReader()
    reader.feed(b"nonsense\r\n\r\n")
    for _ in range(2):
        with pytest.raises(Malformed) as refused:
            reader.next()
        assert refused.value.reason is Reason.MALFORMED_HEAD
        reader.feed(get())
    assert reader.buffered == 0


def test_credentials_stay_with_their_request() -> None:
    reader = RequestReader()
    reader.feed(get(b"Authorization: Bearer x", b"X-API-Key: y", b"DPoP: z") + chunked(CHUNKS) + get())
    first = reader.next()
    assert isinstance(first, RequestHead)
    assert first.authorization == b"Bearer x"
    for _ in range(2):
        while not isinstance(head := reader.next(), RequestHead):
            pass
        assert head.authorization is None
        assert head.api_key is None
        assert head.dpop is None
        assert head.authorization_count == head.api_key_count == 0


def test_end_of_input() -> None:
    for raw, broken in (
        (b"", False),
        (get(), False),
        (get()[:-1], True),
        (post(b"Content-Length: 5", body=b"hi"), True),
    ):
        reader = RequestReader()
        reader.feed(raw)
        reader.feed_eof()
        failed = False
        try:
            while reader.next() is not NEED_DATA:
                pass
        except Malformed:
            failed = True
        assert failed is broken


def test_large_body_is_not_kept() -> None:
    reader = RequestReader()
    reader.feed(post(b"Content-Length: 10000000"))
    reader.next()
    piece = b"x" * 65536
    for _ in range(100):
        reader.feed(piece)
        assert reader.next() is piece
        assert reader.buffered == 0
        assert reader.next() is NEED_DATA


@pytest.mark.parametrize("limit", [100, 1000])
def test_head_is_counted_before_it_is_whole(limit: int) -> None:
    reader = RequestReader(ReadLimits(head_size=limit))
    reader.feed(b"GET /a HTTP/1.1\r\nX: ")
    while reader.buffered <= limit:
        assert reader.next() is NEED_DATA
        reader.feed(b"a" * 10)
    with pytest.raises(Malformed) as refused:
        reader.next()
    assert refused.value.reason is Reason.HEAD_TOO_LARGE


def test_empty_lines_are_not_endless() -> None:
    reader = RequestReader()
    reader.feed(b"\r\n")
    assert reader.next() is NEED_DATA
    reader.feed(b"\r\n")
    with pytest.raises(Malformed):
        reader.next()


# -- answers


def events(reader: ResponseReader, pieces: list[bytes], eof: bool = False) -> list[object]:
    """Statuses, joined body, and END."""
    found: list[object] = []
    body = b""
    for piece in [*pieces, None]:
        if piece is not None:
            reader.feed(piece)
        elif eof:
            reader.feed_eof()
        else:
            break
        while (event := reader.next()) is not NEED_DATA:
            if isinstance(event, ResponseHead):
                found.append(event.status)
            elif event is END:
                return [*found, body, END]
            else:
                assert isinstance(event, bytes)
                body += event
    return [*found, body]


@pytest.mark.parametrize(
    ("raw", "method", "eof", "expected", "reusable"),
    [
        (OK, "GET", False, [200, b"hello", END], True),
        (OK[:-5], "HEAD", False, [200, b"", END], True),
        (OK[:-1], "GET", False, [200, b"hell"], False),
        (OK + b"!", "GET", False, [200, b"hello", END], False),
        (OK, "HEAD", False, [200, b"", END], False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", False, [204, b"", END], True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "GET", False, [204, b"", END], False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "GET", False, [304, b"", END], True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", False, [200, b"", END], True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "GET", False, [200, b"hello", END], True),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "GET", False, [200, b"hello"], False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "GET", True, [200, b"hello", END], False),
        (b"HTTP/1.0 200 OK\r\n\r\n", "GET", True, [200, b"", END], False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, "POST", False, [100, 200, b"hello", END], True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2 + OK, "GET", False, [103, 103, 200, b"hello", END], True),
        (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), "GET", False, [200, b"hello", END], False),
    ],
)
def test_answers(raw: bytes, method: str, eof: bool, expected: list[object], reusable: bool) -> None:
    reader = ResponseReader(method)
    assert events(reader, [raw], eof) == expected
    assert reader.reusable is reusable


@pytest.mark.parametrize(
    "raw", [OK[:-2], OK[:20], OK[:-5].replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")]
)
def test_answer_cut_short(raw: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        events(ResponseReader("GET"), [raw], eof=True)
    assert refused.value.reason is Reason.UPSTREAM_ABORTED


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1),
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
        b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n",
    ],
)
def test_answer_refused(raw: bytes) -> None:
    for pieces in ([raw], one_by_one(raw)):
        with pytest.raises(Malformed) as refused:
            events(ResponseReader("GET"), pieces)
        assert refused.value.reason is Reason.UPSTREAM_INVALID


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        (OK, b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)
    ),
    st.binary(max_size=10),
    st.lists(st.integers(0, 500), max_size=5),
)
def test_answers_however_they_arrive(raw: bytes, behind: bytes, places: list[int]) -> None:
    """An answer is the same however it is cut, and a connection with more on it is not used again."""
    reader = ResponseReader("GET")
    assert events(reader, cut(raw + behind, places))[-2:] == [b"hello", END]
    whole = ResponseReader("GET")
    assert events(whole, [raw + behind])[-2:] == [b"hello", END]
    assert whole.reusable is (behind == b"")


def test_fresh_reader_knows_nothing() -> None:
    reader = ResponseReader("GET")
    assert reader.next() is NEED_DATA
    assert not reader.reusable


# -- the same again


REQUESTS = (
    get(),
    get(b"Authorization: Bearer one"),
    get(b"Authorization: Bearer two"),
    get(b"Connection: close"),
    post(b"Content-Length: 5", body=b"hello"),
    post(b"Transfer-Encoding: chunked", body=CHUNKS),
    post(b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"),
    get(b"DPoP: proof"),
    get(b"X-Long: " + b"a" * 3000),
)


def everything_of(head: object) -> dict[str, object]:
    """What a head says; what is remembered of its lines is not part of it."""
    names = [name for name in type(head).__slots__ if name not in ("block", "dpop")]  # type: ignore[attr-defined]
    said = {name: getattr(head, name) for name in names}
    dpop = getattr(head, "dpop", None)
    return {**said, "dpop": dpop and (dpop.token, dpop.proof)}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6))
def test_requests_of_a_connection_are_read_as_if_each_were_the_first(requests: list[bytes]) -> None:
    reader = RequestReader()
    for raw in requests:
        fresh = RequestReader()
        for one in (reader, fresh):
            one.feed(raw)
        while True:
            found, expected = reader.next(), fresh.next()
            if isinstance(found, RequestHead):
                assert isinstance(expected, RequestHead)
                assert everything_of(found) == everything_of(expected)
            else:
                assert found == expected
            if found is END:
                break


ANSWERS = (
    OK,
    OK.replace(b"hello", b"world"),
    OK.replace(b"5\r\n", b"5\r\nSet-Cookie: a=b\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    OK.replace(b"5\r\n", b"5\r\nX-Long: " + b"a" * 3000 + b"\r\n"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from(("GET", "HEAD", "POST"))), min_size=1, max_size=6))
def test_answers_of_a_connection_are_read_as_if_each_were_the_first(answers: list[tuple[bytes, str]]) -> None:
    reader: ResponseReader | None = None
    for raw, method in answers:
        if method == "HEAD":
            raw = raw[: raw.index(b"\r\n\r\n", raw.rindex(b"HTTP/1.1")) + 4]
        fresh = ResponseReader(method)
        if reader is None:
            reader = ResponseReader(method)
        else:
            reader.begin(method)
        for one in (reader, fresh):
            one.feed(raw)
        while True:
            found, expected = reader.next(), fresh.next()
            if isinstance(found, ResponseHead):
                assert isinstance(expected, ResponseHead)
                assert everything_of(found) == everything_of(expected)
            else:
                assert found == expected
            if found is END:
                break
        assert reader.reusable is fresh.reusable is True
