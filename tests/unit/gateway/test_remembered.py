"""What a worker remembers of field lines: a flood of different ones fills bounded room, and confuses nobody."""

from __future__ import annotations

from interlock.gateway.http1 import head as heads
from interlock.gateway.http1 import response as responses
from interlock.gateway.http1.head import parse_request_head
from interlock.gateway.http1.response import parse_response_head

FLOOD = 20_000


def request(*lines: bytes, target: bytes = b"/a") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_a_flood_of_requests_that_differ_is_remembered_in_bounded_room() -> None:
    for number in range(FLOOD):
        parse_request_head(request(b"X-Flood: %d" % number))
    assert len(heads._blocks) <= heads._BLOCKS
    for number in range(FLOOD):
        parse_request_head(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % number)
    assert len(heads._lengths) <= heads._LENGTHS
    assert max(map(len, heads._blocks)) <= heads._BLOCK


def test_long_lines_are_read_and_not_remembered() -> None:
    heads._blocks.clear()
    long = request(b"X-Long: " + b"a" * heads._BLOCK)
    assert parse_request_head(long).headers[-1][1] == b"a" * heads._BLOCK
    assert heads._blocks == {}


def test_nobody_gets_what_another_one_sent_however_the_room_is_filled() -> None:
    """Each head is its own, before, in and after a flood; a credential is only that of who sent it."""
    for number in range(3 * heads._BLOCKS):
        found = parse_request_head(request(b"X-API-Key: key-%d" % number, target=b"/t/%d" % number))
        assert found.values(b"x-api-key") == [b"key-%d" % number]
        again = parse_request_head(request(b"X-API-Key: key-%d" % (number // 7), target=b"/again"))
        assert again.values(b"x-api-key") == [b"key-%d" % (number // 7)]
        bare = parse_request_head(request(target=b"/bare"))
        assert (bare.api_key_count, bare.values(b"x-api-key")) == (0, [])


def test_a_flood_of_answers_that_differ_is_remembered_in_bounded_room() -> None:
    for number in range(FLOOD):
        parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Flood: %d\r\n\r\n" % number, "GET")
    assert len(responses._known) <= responses._LINES
    assert max(map(len, responses._known)) <= responses._LINE
