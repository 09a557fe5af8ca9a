"""Announcing: who acknowledges lives; who does not, and is proven to be that worker, is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from interlock.snapshot import NodePage, announce, await_generation
from interlock.snapshot.announce import _kill
from interlock.snapshot.page import (
    BIRTH,
    CONTROL,
    CONTROL_SLOT,
    DRAINING,
    EPOCH,
    EPOCH_ACKED,
    FIRST_WORKER_SLOT,
    GENERATION,
    GENERATION_ACKED,
    READY,
    STARTING,
    WORKER,
    process_birth,
    slot_base,
)

A, B = FIRST_WORKER_SLOT, FIRST_WORKER_SLOT + 1
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def page(tmp_path: Path) -> NodePage:
    return NodePage.create(tmp_path / "page", 6)


@pytest.fixture
def start(tmp_path: Path, page: NodePage) -> Iterator[Callable[..., BaseProcess]]:
    """Starts a process that holds a slot; returns when it does."""
    started: list[BaseProcess] = []

    def _start(slot: int, *, heeds: bool, state: int = READY, kind: int = WORKER) -> BaseProcess:
        process = FORK.Process(target=_hold, args=(tmp_path / "page", slot, heeds, state, kind), daemon=True)
        process.start()
        started.append(process)
        while page.process(slot).pid != process.pid or page.words[slot_base(slot) + 2] != state:
            time.sleep(0.001)
        return process

    yield _start
    for process in started:
        assert process.pid is not None
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join(10)


def _hold(path: Path, slot: int, heeds: bool, state: int, kind: int) -> None:
    page = NodePage.open(path)
    page.claim(slot, kind, time.time_ns())
    page.set_state(slot, state)
    base = slot_base(slot)
    while True:
        if heeds:
            page.words[base + EPOCH_ACKED] = page.words[EPOCH]
            page.words[base + GENERATION_ACKED] = page.words[GENERATION]
        time.sleep(0.001)


def test_nobody_to_tell(tmp_path: Path, page: NodePage) -> None:
    page.words[EPOCH] = 100
    assert announce(tmp_path, page) == []


def test_who_acknowledges_lives(tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]) -> None:
    workers = [start(A, heeds=True), start(B, heeds=True, state=DRAINING)]
    page.words[EPOCH] = 100
    assert announce(tmp_path, page, timeout=10) == []
    assert all(page.process(slot).epoch_acked == 100 for slot in (A, B))
    assert all(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("state", [READY, DRAINING])
def test_who_does_not_is_dead_when_it_returns(
    tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess], state: int
) -> None:
    good, bad = start(A, heeds=True), start(B, heeds=False, state=state)
    page.words[EPOCH] = 100
    killed = announce(tmp_path, page)
    assert [(one.slot, one.pid) for one in killed] == [(B, bad.pid)]
    assert not page.process(B).alive
    bad.join(10)
    assert bad.exitcode == -signal.SIGKILL
    assert good.is_alive()


def test_a_stopped_worker_is_killed(tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]) -> None:
    worker = start(A, heeds=True)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    page.words[EPOCH] = 100
    assert [one.pid for one in announce(tmp_path, page)] == [worker.pid]


def test_a_starting_worker_and_other_processes_are_left_alone(
    tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]
) -> None:
    others = [start(A, heeds=False, state=STARTING), start(CONTROL_SLOT, heeds=False, kind=CONTROL)]
    page.words[EPOCH] = 100
    assert announce(tmp_path, page) == []
    assert all(other.is_alive() for other in others)


def test_a_dead_worker_is_not_waited_for(tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]) -> None:
    worker = start(A, heeds=False)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # a zombie, until its parent asks
    page.words[EPOCH] = 100
    began = time.monotonic()
    assert announce(tmp_path, page, timeout=30) == []
    assert time.monotonic() - began < 20, "it waited for a zombie"


def test_a_bystander_with_the_workers_pid_is_not_killed(
    tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]
) -> None:
    bystander = start(A, heeds=False)
    page.words[slot_base(A) + BIRTH] += 1  # the worker was another process, which had this pid
    page.words[EPOCH] = 100
    assert announce(tmp_path, page) == []
    assert not _kill(A, bystander.pid or 0, process_birth(bystander.pid or 0) + 1, page, 100), "seen too late"
    assert bystander.is_alive()


def test_a_last_moment_acknowledgement_counts(
    tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]
) -> None:
    worker = start(A, heeds=False)
    assert worker.pid is not None
    page.words[slot_base(A) + EPOCH_ACKED] = 100
    assert not _kill(A, worker.pid, process_birth(worker.pid), page, 100)
    assert worker.is_alive()


def test_a_generation_is_awaited_and_nobody_killed_for_it(
    tmp_path: Path, page: NodePage, start: Callable[..., BaseProcess]
) -> None:
    good, slow = start(A, heeds=True), start(B, heeds=False)
    page.words[GENERATION] = 3
    assert await_generation(tmp_path, page, timeout=0.2) == [B]
    assert good.is_alive()
    assert slow.is_alive()
