"""Steps of the clock and the state of its synchronisation are told once each, and only when there are any."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from interlock.audit.timekeeping import STEP, Sync, Timekeeper, kernel_sync
from interlock.clock import SECOND, ManualClock, SystemClock
from interlock.model import Event
from tests.unit.audit.storage import World, call, settle
from tests.unit.audit.test_recorder import acts

GOOD = Sync(True, 1_500_000, 20_000_000)
BAD = Sync(False, 16 * SECOND, 16 * SECOND)


class Told:
    def __init__(self) -> None:
        self.acts: list[tuple[Event, Mapping[str, Any]]] = []

    def __call__(self, event: Event, details: Mapping[str, Any]) -> None:
        self.acts.append((event, details))

    def of(self, event: Event) -> list[Mapping[str, Any]]:
        return [details for known, details in self.acts if known is event]


def pass_seconds(keeper: Timekeeper, clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds * 4):
        clock.advance(0.25)
        keeper.tend()


@pytest.mark.parametrize("size", [0.6, -0.6, 3600.0, -3600.0])
def test_a_step_is_told_once_with_its_size(size: float) -> None:
    clock, told = ManualClock(), Told()
    keeper = Timekeeper(clock, told, lambda: GOOD)
    pass_seconds(keeper, clock, 5)
    before = clock.wall()
    clock.step(size)
    pass_seconds(keeper, clock, 5)
    (step,) = told.of(Event.TIME_STEP)
    assert step["seconds"] == size
    assert step["after"] > step["before"] if size > 0 else step["after"] < step["before"]
    assert keeper.steps == 1
    assert keeper.last is not None
    assert keeper.last.size_ns == round(size * SECOND)
    assert 0 < keeper.last.before_ns - before <= SECOND


def test_what_is_slewed_or_small_is_no_step() -> None:
    clock, told = ManualClock(), Told()
    keeper = Timekeeper(clock, told, lambda: GOOD)
    for _ in range(100):
        clock.step(STEP / SECOND)
        pass_seconds(keeper, clock, 1)
        clock.step(-STEP / SECOND)
        pass_seconds(keeper, clock, 1)
    assert told.of(Event.TIME_STEP) == []


def test_a_process_that_did_not_run_is_no_step() -> None:
    """Between reading one clock and the other we may be stopped for long."""

    class Stopped(ManualClock):
        stop = 0.0

        def wall(self) -> int:
            self.advance(self.stop)
            self.stop = 0.0
            return super().wall()

    clock, told = Stopped(), Told()
    keeper = Timekeeper(clock, told, lambda: GOOD)
    pass_seconds(keeper, clock, 2)
    clock.stop = 30.0
    pass_seconds(keeper, clock, 5)
    assert told.of(Event.TIME_STEP) == []


def test_synchronisation_is_told_at_the_start_and_at_each_change() -> None:
    clock, told, said = ManualClock(), Told(), [GOOD]
    keeper = Timekeeper(clock, told, lambda: said[-1])
    pass_seconds(keeper, clock, 5)
    said.append(BAD)
    pass_seconds(keeper, clock, 5)
    assert keeper.unsynchronised_since
    assert clock.monotonic() - keeper.unsynchronised_since < 5 * SECOND
    said.append(Sync(True, 1, 2))
    pass_seconds(keeper, clock, 5)
    assert [one["synchronised"] for one in told.of(Event.TIME_SYNC)] == [True, False, True]
    assert told.of(Event.TIME_SYNC)[0]["estimated_error_ms"] == 1.5
    assert keeper.unsynchronised_since == 0


def test_where_nobody_says_the_record_says_that() -> None:
    clock, told = ManualClock(), Told()
    keeper = Timekeeper(clock, told, lambda: None)
    pass_seconds(keeper, clock, 5)
    assert told.acts == [(Event.TIME_SYNC, {"synchronised": None})]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="adjtimex is Linux's")
def test_the_kernel_is_asked_without_privilege() -> None:
    sync = kernel_sync()
    assert sync is not None
    assert sync.maximum_error_ns >= 0


def test_real_clocks_do_not_step() -> None:
    told = Told()
    keeper = Timekeeper(SystemClock(), told)
    keeper.tend()
    keeper._due = 0
    keeper.tend()
    assert keeper.steps == 0
    assert len(told.acts) == 1


@pytest.mark.parametrize("size", [-7200.0, 7200.0, -100_000.0, 100_000.0])
def test_a_step_goes_on_the_record_and_sequences_go_on(world: World, size: float) -> None:
    recorder, writer = world.recorder(ask_time=lambda: GOOD), world.writer()
    call(writer, 1)
    settle(recorder)
    world.clock.advance(1.5)
    settle(recorder)
    world.clock.step(size)
    call(writer, 2)
    world.clock.advance(1.5)
    settle(recorder)
    call(writer, 3)
    settle(recorder)
    writer.close()
    assert recorder.stop()
    (step,) = acts(world, Event.TIME_STEP)
    assert step["seconds"] == size
    assert [one["synchronised"] for one in acts(world, Event.TIME_SYNC)] == [True]
    report = world.verify()
    assert report.ok, report.problems
    assert world.page.alarms == 0
