"""The supervisor over small stand-ins for its processes: order, restarts, hangs, draining."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND, SystemClock
from interlock.control.log import Log
from interlock.errors import KeyMaterialError, NodeError, RecordUnavailable
from interlock.model import Event
from interlock.snapshot import NodePage
from interlock.snapshot.page import (
    ANALYST_SLOT,
    CONTROL_SEEN_NS,
    CONTROL_SLOT,
    FIRST_WORKER_SLOT,
    GONE,
    READY,
    RECORDER_SLOT,
)
from interlock.supervisor import node as subject
from interlock.supervisor.node import Node


class Acts:
    """Remembers what was recorded; refuses everything when told to."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Mapping[str, Any]]] = []
        self.broken: Exception | None = None
        self.closed = False

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        assert not self.closed
        if self.broken:
            raise self.broken
        self.done.append((event.text, details))
        return ""

    def close(self) -> None:
        self.closed = True


class Bench:
    """A node whose processes note in a file what happens to them, and do nothing else."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.page = NodePage.create(folder / "page", FIRST_WORKER_SLOT + workers)
        self.notes = folder / "notes"
        self.notes.touch()
        self.logged = folder / "log"
        self.acts = Acts()
        self.serving = 0
        log = Log("node", os.open(self.logged, os.O_CREAT | os.O_APPEND | os.O_WRONLY), as_json=True)
        self.node = Node(
            page=self.page,
            recorder=self.lives(RECORDER_SLOT, "recorder"),
            control=self.lives(CONTROL_SLOT, "control"),
            analyst=self.lives(ANALYST_SLOT, "analyst"),
            workers=[(self.lives(FIRST_WORKER_SLOT + n, f"worker-{n}"), []) for n in range(workers)],
            acts=self.acts,
            log=log,
            clock=SystemClock(),
            drain=SECOND,
            serving=self.count,
        )

    def count(self) -> None:
        self.serving += 1

    def note(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(what + "\n")

    def lives(self, slot: int, name: str, *, beats: bool = True, ends: bool = True) -> Callable[[], None]:
        """A process that is ready at once and ends when asked to, if `ends`."""

        def body() -> None:
            asked: list[int] = []
            signal.signal(signal.SIGTERM, lambda _number, _frame: asked.append(1) if ends else None)
            signal.signal(signal.SIGUSR1, lambda _number, _frame: self.note(f"{name} reload"))
            self.note(f"{name} start")
            self.page.set_state(slot, READY)
            while not asked:
                if beats:
                    self.page.beat(slot, time.monotonic_ns())
                time.sleep(0.01)
            self.note(f"{name} end")

        return body

    def lines(self) -> list[str]:
        return self.notes.read_text().splitlines()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.logged.read_text().splitlines()]

    def run(self, story: Callable[[], None]) -> int:
        """Run the node; `story` is told beside it, and the node is stopped when it ends."""

        def tell() -> None:
            try:
                story()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        teller = threading.Thread(target=tell)
        # Started from within, so that nothing is told before the signals are heard.
        listen = self.node._listen_to_signals

        def begin() -> None:
            listen()
            teller.start()

        self.node._listen_to_signals = begin  # type: ignore[method-assign]
        try:
            return self.node.run()
        finally:
            teller.join()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(subject, "TICK", 0.02)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def wait(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 10
    while not check():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.01)


def test_it_starts_everything_and_stops_the_recorder_last(bench: Bench) -> None:
    assert bench.run(lambda: wait(lambda: bench.serving and len(bench.lines()) == 5)) == 0
    lines = bench.lines()
    assert set(lines[:5]) == {f"{name} start" for name in ("recorder", "worker-0", "worker-1", "control", "analyst")}
    assert set(lines[-3:-1]) == {"control end", "analyst end"}
    assert lines[-1] == "recorder end"
    assert bench.serving == 1
    assert [event for event, _ in bench.acts.done] == ["node:stop"]
    assert bench.acts.closed


@pytest.mark.parametrize("name", ["recorder", "worker-1", "control", "analyst"])
def test_one_that_dies_is_started_again_and_that_is_recorded(bench: Bench, name: str) -> None:
    child = next(child for child in bench.node.children if child.name == name)

    def story() -> None:
        wait(lambda: bench.serving)
        wait(lambda: f"{name} start" in bench.lines())
        os.kill(child.pid, signal.SIGKILL)
        wait(lambda: bench.lines().count(f"{name} start") == 2)

    assert bench.run(story) == 0
    exits = [details for event, details in bench.acts.done if event == "process:exit"]
    assert [(details["process"], details["how"]) for details in exits] == [(name, "SIGKILL")]
    assert bench.page.process(child.slot).restarts == 1
    assert len(bench.lines()) == 5 + 1 + 5


@pytest.mark.parametrize(
    "problem", [RecordUnavailable("on purpose"), KeyMaterialError("no public key"), OSError(5, "on purpose")]
)
def test_a_record_that_cannot_be_written_stops_no_restart(bench: Bench, problem: Exception) -> None:
    bench.acts.broken = problem

    def story() -> None:
        wait(lambda: bench.serving)
        os.kill(bench.node.workers[0].pid, signal.SIGKILL)
        wait(lambda: bench.lines().count("worker-0 start") == 2)

    assert bench.run(story) == 0
    assert "cannot record" in bench.events()


def test_workers_serve_before_control_is_ready(bench: Bench) -> None:
    started = []

    def stuck() -> None:
        bench.note("control start")
        signal.pause()

    bench.node.control.body = stuck

    def story() -> None:
        wait(lambda: bench.serving and "control start" in bench.lines())
        started.append(bench.page.process(CONTROL_SLOT).state)

    assert bench.run(story) == 0
    assert started == ["starting"]
    assert bench.page.words[CONTROL_SEEN_NS] > 0, "workers count from the node's start"


def test_one_that_shows_no_sign_of_life_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, workers=1)
    monkeypatch.setattr(subject, "HUNG", SECOND // 4)
    worker = bench.node.workers[0]
    worker.body = bench.lives(worker.slot, "worker-0", beats=False)

    def story() -> None:
        wait(lambda: bench.lines().count("worker-0 start") >= 2)

    assert bench.run(story) == 0
    assert "no sign of life: killed" in bench.events()
    assert {details["process"] for event, details in bench.acts.done if event == "process:exit"} == {"worker-0"}


def test_one_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, workers=1)
    worker = bench.node.workers[0]
    worker.body = bench.lives(worker.slot, "worker-0", ends=False)
    began = time.monotonic()
    assert bench.run(lambda: wait(lambda: bench.serving)) == 0
    assert 0.9 < time.monotonic() - began < 5
    assert "killed: it did not end in time" in bench.events()
    assert bench.lines()[-1] == "recorder end"


def test_asked_twice_it_does_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, workers=1)
    bench.node._drain = 60 * SECOND
    worker = bench.node.workers[0]
    worker.body = bench.lives(worker.slot, "worker-0", ends=False)

    def story() -> None:
        wait(lambda: bench.serving)
        os.kill(os.getpid(), signal.SIGTERM)
        wait(lambda: "stopping" in bench.events())

    began = time.monotonic()
    assert bench.run(story) == 0
    assert time.monotonic() - began < 10


def test_hangup_asks_control_to_reload(bench: Bench) -> None:
    """However early: control need not be there yet."""

    def story() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        wait(lambda: "control reload" in bench.lines())

    assert bench.run(story) == 0
    assert sum("reload" in line for line in bench.lines()) == 1


def test_a_worker_that_never_comes_up_ends_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path, workers=1)

    def fails() -> None:
        raise SystemExit(7)

    bench.node.workers[0].body = fails
    with pytest.raises(NodeError, match=r"worker-0 cannot start \(exit 7\)"):
        bench.run(lambda: time.sleep(3))
    assert bench.serving == 0
    assert bench.lines()[-1] == "recorder end"


def test_an_ended_process_leaves_its_slot(bench: Bench) -> None:
    bench.run(lambda: wait(lambda: bench.serving))
    assert bench.page.process(FIRST_WORKER_SLOT).pid == 0
    assert bench.page.process(FIRST_WORKER_SLOT).state == "gone"
    assert GONE == 0
