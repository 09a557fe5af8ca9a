"""The budget of failed authentications, told as a story over a real table of counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.clock import SECOND
from interlock.gateway.failures import REMEMBERED, UNCOUNTED, Failures
from interlock.model import Reason, Refusal
from interlock.snapshot import CounterTable, LimitSpec

ONE, TWO = b"\x7f\0\0\1", b"\x7f\0\0\2"
START = 1000 * SECOND
BAD = Refusal(Reason.KEY_UNKNOWN, ((b"www-authenticate", b"x"),), "a note")


@pytest.fixture
def table(tmp_path: Path) -> CounterTable:
    return CounterTable.create(tmp_path / "counters", 1024)


@pytest.fixture
def failures(table: CounterTable) -> Failures:
    return Failures(table, LimitSpec(5, 60 * SECOND, 5, "address"))


def test_a_network_over_its_budget_is_told_when_to_come_again(failures: Failures) -> None:
    assert [failures.judge(BAD, ONE, START) for _ in range(5)] == [BAD] * 5
    refusal = failures.judge(BAD, ONE, START)
    assert refusal.reason is Reason.TOO_MANY_FAILURES
    assert dict(refusal.headers)[b"retry-after"] == b"12"
    assert refusal.note == Reason.KEY_UNKNOWN, "the record is told what it would have been"


def test_waiting_as_told_is_enough_and_less_is_not(failures: Failures) -> None:
    for _ in range(6):
        failures.judge(BAD, ONE, START)
    assert failures.judge(BAD, ONE, START + 11 * SECOND).reason is Reason.TOO_MANY_FAILURES
    assert failures.judge(BAD, ONE, START + 12 * SECOND) is BAD
    assert failures.judge(BAD, ONE, START + 12 * SECOND).reason is Reason.TOO_MANY_FAILURES


def test_trying_on_while_refused_does_not_prolong_it(failures: Failures) -> None:
    for number in range(1000):
        failures.judge(BAD, ONE, START + number * SECOND // 100)
    assert failures.judge(BAD, ONE, START + 12 * SECOND) is BAD


def test_others_are_not_hit(failures: Failures) -> None:
    for _ in range(10):
        failures.judge(BAD, ONE, START)
    assert failures.judge(BAD, TWO, START) is BAD


@pytest.mark.parametrize("reason", [*sorted(UNCOUNTED), Reason.PERMISSION_MISSING, Reason.RATE_LIMITED])
def test_what_is_no_failed_attempt_is_never_counted_or_replaced(failures: Failures, reason: Reason) -> None:
    refusal = Refusal(reason)
    for _ in range(20):
        assert failures.judge(refusal, ONE, START) is refusal
    for _ in range(6):
        failures.judge(BAD, ONE, START)
    assert failures.judge(refusal, ONE, START) is refusal, "a network over its budget gets its own answer still"


def test_workers_count_together(table: CounterTable) -> None:
    workers = [Failures(table, LimitSpec(5, 60 * SECOND, 5, "address")) for _ in range(2)]
    reasons = [workers[number % 2].judge(BAD, ONE, START).reason for number in range(8)]
    assert reasons == [Reason.KEY_UNKNOWN] * 5 + [Reason.TOO_MANY_FAILURES] * 3


def test_who_is_blocked_is_remembered_in_bounded_room(failures: Failures) -> None:
    for number in range(REMEMBERED + 10):
        failures._blocked[number.to_bytes(4, "big")] = START + SECOND
    for _ in range(6):
        failures.judge(BAD, ONE, START)
    assert len(failures._blocked) <= REMEMBERED
    failures.sweep(START + 3600 * SECOND)
    assert failures._blocked == {}


def test_a_full_table_refuses(tmp_path: Path) -> None:
    """Whoever cannot be counted is not let try on."""
    table = CounterTable.create(tmp_path / "small", 8)
    failures = Failures(table, LimitSpec(1, 60 * SECOND, 1, "address"))
    reasons = {failures.judge(BAD, network.to_bytes(4, "big"), START).reason for network in range(10_000)}
    assert Reason.TOO_MANY_FAILURES in reasons
