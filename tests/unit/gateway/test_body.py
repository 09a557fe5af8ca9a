"""Bodies end where their framing says, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.gateway.http1 import BodyDecoder, ChunkedBody, LengthBody, Malformed, ReadLimits, UntilClose
from interlock.model import Reason
from tests.unit.gateway.reading import cut, one_by_one

LIMITS = ReadLimits()


def decode(decoder: BodyDecoder, pieces: list[bytes]) -> tuple[bytes, bytes, bool]:
    """Payload, rest and whether it ended."""
    body = b""
    for number, piece in enumerate(pieces):
        payload, rest, done = decoder.feed(piece)
        body += b"".join(payload)
        if done:
            return body, rest + b"".join(pieces[number + 1 :]), True
        assert rest == b""
    return body, b"", False


def test_length() -> None:
    assert decode(LengthBody(5), [b"hello"]) == (b"hello", b"", True)
    assert decode(LengthBody(5), [b"hel", b"lo"]) == (b"hello", b"", True)
    assert decode(LengthBody(5), [b"hello, world"]) == (b"hello", b", world", True)
    assert decode(LengthBody(5), [b"hell"]) == (b"hell", b"", False)


def test_length_gives_what_it_was_given_without_copying() -> None:
    data = b"x" * 1000
    (piece,), _, _ = LengthBody(5000).feed(data)
    assert piece is data


def test_cut_short() -> None:
    for decoder in (LengthBody(5), ChunkedBody(LIMITS)):
        decoder.feed(b"1")
        with pytest.raises(Malformed) as refused:
            decoder.feed_eof()
        assert refused.value.reason is Reason.MALFORMED_BODY


def test_until_close() -> None:
    decoder = UntilClose()
    assert decode(decoder, [b"a", b"b"]) == (b"ab", b"", False)
    decoder.feed_eof()


def encode(chunks: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks if c) + b"0\r\n" + trailers + b"\r\n"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.binary(max_size=40), max_size=6),
    st.sampled_from((b"", b";a", b";a=b;c", b';a="b; c"')),
    st.sampled_from((b"", b"X: y\r\n", b"A:\r\nB: \xff\r\n")),
    st.binary(max_size=20),
    st.lists(st.integers(0, 500), max_size=5),
)
def test_chunked(chunks: list[bytes], extension: bytes, trailers: bytes, behind: bytes, places: list[int]) -> None:
    """What was chunked comes out whole, and what follows it is left alone, wherever it is cut."""
    raw = encode(chunks, extension, trailers) + behind
    for pieces in ([raw], one_by_one(raw), cut(raw, places)):
        assert decode(ChunkedBody(LIMITS), pieces) == (b"".join(chunks), behind, True)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from((b"5", b"0", b"\r\n", b"\r", b"\n", b"hello", b";", b" ", b"X: y", b"a")), max_size=12))
def test_chunked_refuses_the_same_however_it_is_cut(parts: list[bytes]) -> None:
    """Whole or byte by byte, the same payload comes out, and it is refused or not all the same."""

    def outcome(pieces: list[bytes]) -> object:
        try:
            return decode(ChunkedBody(LIMITS), pieces)
        except Malformed:
            return None

    raw = b"".join(parts)
    assert outcome([raw]) == outcome(one_by_one(raw))


def test_payload_before_a_fault_is_not_given_out_with_it() -> None:
    with pytest.raises(Malformed):
        ChunkedBody(LIMITS).feed(b"5\r\nhello\r\nnonsense\r\n")


def test_keeps_no_more_than_a_line() -> None:
    decoder = ChunkedBody(LIMITS)
    decoder.feed(b"5;")
    for _ in range(LIMITS.chunk_line - 2):
        decoder.feed(b"a")
    decoder.feed(b"\r")
    with pytest.raises(Malformed):
        decoder.feed(b"a")


def test_framing_is_bounded_by_the_payload() -> None:
    one = b"1;" + b"a" * 50 + b"\r\nx\r\n"
    decoder = ChunkedBody(LIMITS)
    with pytest.raises(Malformed, match="framing"):
        decoder.feed(one * 1000)
    decoder = ChunkedBody(LIMITS)
    for _ in range(100_000):
        decoder.feed(b"1\r\nx\r\n")
    for _ in range(1000):
        decoder.feed(b"40;signature=" + b"a" * 64 + b"\r\n" + b"x" * 64 + b"\r\n")


def test_largest_size() -> None:
    payload, rest, done = ChunkedBody(LIMITS).feed(b"ffffffffffffffff\r\nhello")
    assert (payload, rest, done) == ([b"hello"], b"", False)
