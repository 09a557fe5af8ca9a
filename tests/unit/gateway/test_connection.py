"""A caller's connection, with the wire in the test's hands."""

from __future__ import annotations

from interlock.model import Reason, Refusal
from tests.unit.gateway.wires import Desk

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


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
