"""When a process that ended is started again."""

from __future__ import annotations

from interlock.clock import SECOND
from interlock.supervisor.restart import LONGEST, LOOP_DELAY, LOOP_EXITS, STEADY, Backoff


def test_the_first_restart_is_at_once() -> None:
    assert Backoff().exited(started=0, now=60 * SECOND) == 0


def test_one_that_keeps_dying_waits_longer_each_time_up_to_a_bound() -> None:
    backoff = Backoff()
    delays = []
    now = 0
    for _ in range(8):
        delays.append(backoff.exited(started=now, now=now + 1))
        now += delays[-1] + 20 * SECOND
    assert delays == sorted(delays)
    assert delays[0] == 0
    assert delays[1] > 0
    assert max(delays) == LONGEST


def test_a_steady_life_wipes_the_slate() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.exited(0, 1)
    assert backoff.exited(started=0, now=STEADY) == 0


def test_a_crash_loop_says_so_and_slows_down() -> None:
    backoff = Backoff()
    for _ in range(LOOP_EXITS - 1):
        backoff.exited(0, 1)
        assert not backoff.looping
    assert backoff.exited(0, 2) == LOOP_DELAY
    assert backoff.looping


def test_the_loop_is_over_when_ends_are_rare_again() -> None:
    backoff = Backoff()
    for turn in range(LOOP_EXITS + 1):
        backoff.exited(turn * 100 * SECOND, turn * 100 * SECOND + 1)
    assert not backoff.looping
