"""A caller's connection, with the wire in the test's hands."""

from __future__ import annotations

import pytest

from interlock.gateway.connection import BUFFERED
from interlock.gateway.http1 import ReadLimits
from interlock.model import Reason, Refusal
from tests.unit.gateway.wires import Desk

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
PIECE = 64 * 1024  # what the loop reads at once


def sent(desk: Desk, data: bytes, at: int = 0) -> int:
    """How far a caller who has sent `at` bytes of it gets before nothing more is read."""
    while at < len(data) and desk.transport.reading:
        desk.connection.data_received(data[at : at + PIECE])
        at = min(at + PIECE, len(data))
    return at


def test_who_takes_no_answers_is_asked_for_no_more_requests() -> None:
    desk = Desk()
    desk.connection.data_received(GET * 3)
    desk.connection.pause_writing()  # the first answer fills the buffer
    desk.answer()
    desk.run_soon()
    assert len(desk.pipeline.calls) == 1
    desk.connection.resume_writing()
    desk.run_soon()
    assert len(desk.pipeline.calls) == 2


def test_who_takes_no_answers_is_not_read_without_end() -> None:
    desk = Desk()
    desk.connection.data_received(GET)
    desk.connection.pause_writing()
    desk.answer()
    flood = GET * 8_000
    taken = sent(desk, flood)
    assert taken <= BUFFERED + PIECE
    assert desk.connection._reader.buffered == taken
    desk.pipeline.refuses = True
    desk.connection.resume_writing()
    while desk.soon or taken < len(flood):
        desk.run_soon()
        taken = sent(desk, flood, taken)
    assert len(desk.pipeline.calls) == 8_001
    assert desk.transport.reading


def test_requests_that_come_faster_than_they_are_refused_wait_at_the_caller() -> None:
    desk = Desk()
    desk.pipeline.refuses = True
    flood = GET * 8_000
    taken = most = 0
    while desk.soon or taken < len(flood):
        taken = sent(desk, flood, taken)
        most = max(most, desk.connection._reader.buffered)
        desk.run_soon()
    assert most <= BUFFERED + PIECE
    assert len(desk.pipeline.calls) == 8_000
    assert desk.transport.reading


@pytest.mark.parametrize("stalled", [False, True])
def test_a_head_larger_than_the_buffer_gets_through(stalled: bool) -> None:
    desk = Desk(ReadLimits(head_size=8 * BUFFERED))
    large = b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * (8 * BUFFERED - 50) + b"\r\n\r\n"
    if stalled:
        desk.connection.pause_writing()
    taken = sent(desk, large * 2)
    if stalled:
        assert desk.pipeline.calls == []
        desk.connection.resume_writing()
    for _ in range(2):
        desk.run_soon()
        taken = sent(desk, large * 2, taken)
        desk.answer()
    assert len(desk.pipeline.calls) == 2
    assert taken == len(large * 2)
    assert desk.transport.reading


def test_what_follows_a_last_request_is_read_and_forgotten() -> None:
    """Nobody would see the answer if the connection ended with bytes of the caller's unread."""
    desk = Desk()
    desk.pipeline.refuses = True
    flood = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET * 8_000
    desk.connection.data_received(flood)
    assert desk.transport.ended
    assert desk.transport.reading


def test_a_stalled_caller_between_two_calls_is_given_up() -> None:
    desk = Desk()
    desk.connection.data_received(GET * 2)
    desk.connection.pause_writing()
    desk.answer()
    desk.run_soon()
    desk.time += 31
    desk.connection.sweep(desk.time)
    assert desk.transport.aborted


def test_an_answer_that_is_still_on_its_way_is_not_cut_by_the_close() -> None:
    desk = Desk()
    desk.connection.data_received(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    desk.answer()
    assert desk.transport.ended
    desk.transport.unsent = 100_000
    desk.time += 5
    desk.connection.sweep(desk.time)
    assert not desk.transport.aborted
    desk.transport.unsent = 0
    desk.connection.resume_writing()
    desk.connection.sweep(desk.time)
    assert not desk.transport.aborted, "the time to hang up begins when the answer is out"
    desk.time += 5
    desk.connection.sweep(desk.time)
    assert desk.transport.aborted


def test_a_closing_caller_who_takes_nothing_is_given_up() -> None:
    desk = Desk()
    desk.connection.data_received(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    desk.answer()
    desk.transport.unsent = 100_000
    desk.time += 31
    desk.connection.sweep(desk.time)
    assert desk.transport.aborted


def test_a_reset_ends_the_call() -> None:
    desk = Desk()
    desk.connection.data_received(GET)
    desk.connection.reset()
    assert [(status, reason) for _, status, reason in desk.pipeline.ended] == [(499, Reason.CLIENT_GONE)]


def test_a_layer_that_raises_refuses_the_call() -> None:
    desk = Desk()
    desk.pipeline.raises = RuntimeError("a fault")
    desk.connection.data_received(GET)
    assert desk.pipeline.failures == desk.pipeline.calls


def test_a_head_that_begins_late_has_its_full_time() -> None:
    desk = Desk()
    desk.time += 50  # idle
    desk.connection.data_received(GET[:10])
    desk.connection.sweep(desk.time + 1)
    assert desk.pipeline.refusals == []
    desk.connection.data_received(GET[10:12])  # more of it does not begin it anew
    desk.connection.sweep(desk.time + 11)
    assert desk.pipeline.refusals == [Refusal(Reason.REQUEST_TIMEOUT, (), "head")]
