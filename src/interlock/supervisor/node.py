"""The running node: starts the processes, watches them, starts them again, drains them.

One thread, one selector, no event loop: what it does is little and must go on whatever the others do. It
never holds the key-encryption key and never touches a call. The order is fixed: the recorder first, since
without it nothing may pass for long; then the workers; then control, without which they serve as well; then
the analyst, which only reads. Stopping goes the other way, so that the last thing written is still sealed.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from interlock.clock import SECOND, Clock
from interlock.control.log import Log
from interlock.errors import InterlockError, NodeError
from interlock.model import Event
from interlock.snapshot import NodePage
from interlock.snapshot.page import (
    ANALYST,
    ANALYST_SLOT,
    CONTROL,
    CONTROL_SEEN_NS,
    CONTROL_SLOT,
    FIRST_WORKER_SLOT,
    HEARTBEAT_NS,
    PID,
    READY,
    RECORDER,
    RECORDER_SLOT,
    STATE,
    SUPERVISOR,
    SUPERVISOR_SLOT,
    WORKER,
    slot_base,
)
from interlock.supervisor.process import Closeable, describe_exit, fork
from interlock.supervisor.restart import Backoff

TICK = 0.25  # seconds between looks at the clock
HUNG = 10 * SECOND  # without a heartbeat
HUNG_STARTING = 60 * SECOND  # the same before the first `ready`
PAUSED = 5 * SECOND  # when we ourselves did not run for this long, silence of others proves nothing
STARTS = 3  # a worker that dies this often before the node ever served will not get better
STOP_CONTROL = 10 * SECOND
STOP_RECORDER = 60 * SECOND


class Body(Protocol):
    """What a child runs."""

    def __call__(self) -> object: ...


class Acts(Protocol):
    """Where the supervisor puts what it did: a `Recorder` that can be closed."""

    def act(self, event: Event, details: Mapping[str, Any]) -> str: ...

    def close(self) -> None: ...


@dataclass
class Child:
    """One process slot and who is in it now."""

    name: str
    slot: int
    kind: int
    body: Body
    keeps: tuple[Closeable, ...] = ()  # of what the supervisor has open, what this child needs
    backoff: Backoff = field(default_factory=Backoff)
    pid: int = 0
    started: int = 0  # monotonic ns
    due: int = 0  # when to start it (again); 0 while it runs
    wanted: bool = True
    was_ready: bool = False
    starts: int = 0


class Node:
    """Runs until it is told to stop. `run` gives the exit status."""

    def __init__(
        self,
        *,
        page: NodePage,
        recorder: Body,
        control: Body,
        workers: list[tuple[Body, list[socket.socket]]],
        analyst: Body | None = None,
        admin: socket.socket | None = None,
        acts: Acts,
        log: Log,
        clock: Clock,
        drain: int = 30 * SECOND,
        serving: Callable[[], None] = lambda: None,
    ) -> None:
        self.page = page
        self.log = log
        self.clock = clock
        self._acts = acts
        self._drain = drain
        self._serving = serving
        self._served = False
        self._stopping = False
        self._hurry = False
        self._reload = False  # asked for, and control was not ready to hear of it yet
        self._failed = ""
        self._looked = 0  # when hung processes were last looked for
        self._awake = 0  # since when we have been looking without a pause
        admin_sockets = () if admin is None else (admin,)
        self._sockets = [*(sock for _, own in workers for sock in own), *admin_sockets]
        self.recorder = Child("recorder", RECORDER_SLOT, RECORDER, recorder)
        self.control = Child("control", CONTROL_SLOT, CONTROL, control, admin_sockets)
        self.workers = [
            Child(f"worker-{index}", FIRST_WORKER_SLOT + index, WORKER, body, tuple(own))
            for index, (body, own) in enumerate(workers)
        ]
        self.analyst = None if analyst is None else Child("analyst", ANALYST_SLOT, ANALYST, analyst)
        self.children = [self.recorder, *self.workers, self.control]
        if self.analyst is not None:
            self.children.append(self.analyst)
        self._selector = selectors.DefaultSelector()
        self._hear, self._wake = socket.socketpair()

    def run(self) -> int:
        """Start everything, watch it, and end it in order when told to. 0, or 1 if it could not serve."""
        self._listen_to_signals()
        now = self.clock.monotonic()
        self.page.claim(SUPERVISOR_SLOT, SUPERVISOR, self.clock.wall())
        self.page.set_state(SUPERVISOR_SLOT, READY)
        self.page.words[CONTROL_SEEN_NS] = now  # before there is a control process: workers count from here
        for child in self.children:
            child.due = now
        while not self._stopping:
            self._turn()
        return self._stop()

    # -- watching

    def _turn(self) -> None:
        """One round: signals, ends, hangs, restarts, news."""
        self._hear_signals()
        self._reap()
        now = self.clock.monotonic()
        self._look_for_hung(now)
        for child in self.children:
            if child.due and child.wanted and child.due <= now:
                self._start(child, now)
        self.page.beat(SUPERVISOR_SLOT, now)
        if self._reload and self._is_ready(self.control):
            self._reload = False
            self._signal(self.control, signal.SIGUSR1)
        if not self._served and not self._stopping and all(self._is_ready(worker) for worker in self.workers):
            self._served = True
            self._serving()
        self._selector.select(TICK)

    def _start(self, child: Child, now: int) -> None:
        others: list[Closeable] = [sock for sock in self._sockets if sock not in child.keeps]

        def body() -> None:
            self.page.claim(child.slot, child.kind, self.clock.wall())
            child.body()

        if child.starts:
            self.page.restarted(child.slot)
        child.pid = fork(child.name, body, closing=[*others, self._selector, self._hear, self._wake])
        child.started = now
        child.due = 0
        child.was_ready = False
        child.starts += 1
        self.log.info("started", name=child.name, pid=child.pid)

    def _is_ready(self, child: Child) -> bool:
        """Whether the process that is in the slot now has ever been ready."""
        if not child.was_ready and child.pid:
            words, base = self.page.words, slot_base(child.slot)
            child.was_ready = words[base + PID] == child.pid and words[base + STATE] >= READY
        return child.was_ready

    def _reap(self) -> None:
        for child in self.children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        now = self.clock.monotonic()
        how = describe_exit(status)
        pid, child.pid = child.pid, 0
        self.page.release(child.slot)
        if not child.wanted:
            self.log.info("stopped", name=child.name, pid=pid, how=how)
            return
        delay = child.backoff.exited(child.started, now)
        child.due = now + max(delay, 1)
        self.log.error("process ended", name=child.name, pid=pid, how=how, restart_in=delay / SECOND)
        if child.backoff.looping:
            self.log.error("crash loop: it keeps ending soon after it starts", name=child.name)
        self._record(Event.PROCESS_EXIT, {"process": child.name, "pid": pid, "how": how})
        if not self._served and child in self.workers and child.starts >= STARTS:
            self._failed = f"{child.name} cannot start ({how})"
            self._stopping = True

    def _look_for_hung(self, now: int) -> None:
        """Kill what shows no sign of life; after a pause of our own (a suspended machine) wait first."""
        if now - self._looked > PAUSED:
            self._awake = now
        self._looked = now
        for child in self.children:
            if not child.pid or not child.wanted:
                continue
            seen = max(self.page.words[slot_base(child.slot) + HEARTBEAT_NS], child.started, self._awake)
            patience = HUNG if self._is_ready(child) else HUNG_STARTING
            if now - seen > patience:
                self.log.error(
                    "no sign of life: killed", name=child.name, pid=child.pid, seconds=(now - seen) // SECOND
                )
                self._signal(child, signal.SIGKILL)

    # -- signals

    def _listen_to_signals(self) -> None:
        self._hear.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        self._selector.register(self._hear, selectors.EVENT_READ)

    def _hear_signals(self) -> None:
        try:
            heard = self._hear.recv(512)
        except BlockingIOError:
            return
        for number in heard:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._hurry = self._stopping
                self._stopping = True
            elif number == signal.SIGHUP:
                self.log.info("reload asked for by signal")
                self._reload = True

    @staticmethod
    def _signal(child: Child, number: signal.Signals) -> None:
        if child.pid:
            try:
                os.kill(child.pid, number)
            except ProcessLookupError:
                pass

    # -- stopping

    def _stop(self) -> int:
        """Workers drain; control and the analyst end; the record says that the node stopped; then the recorder."""
        self.log.info("stopping", reason=self._failed or "asked to", drain_seconds=self._drain // SECOND)
        self._end(self.workers, self._drain)
        for sock in self._sockets:
            sock.close()
        self._end([self.control, *([] if self.analyst is None else [self.analyst])], STOP_CONTROL)
        self._record(Event.NODE_STOP, {"reason": self._failed or "asked to"})
        self._acts.close()
        self._end([self.recorder], STOP_RECORDER)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._hear.close()
        self._wake.close()
        if self._failed:
            raise NodeError(self._failed)
        return 0

    def _end(self, children: list[Child], patience: int) -> None:
        """Ask them to end; when `patience` (ns) is over, or the operator insists, make them."""
        until = self.clock.monotonic() + patience
        for child in children:
            child.wanted = False
            self._signal(child, signal.SIGTERM)
        while any(child.pid for child in children):
            if self.clock.monotonic() > until or self._hurry:
                for child in children:
                    if child.pid:
                        self.log.warning("killed: it did not end in time", name=child.name, pid=child.pid)
                    self._signal(child, signal.SIGKILL)
                until = self.clock.monotonic() + SECOND
                self._hurry = False
            self._turn()

    def _record(self, event: Event, details: Mapping[str, Any]) -> None:
        try:
            self._acts.act(event, details)
        except (InterlockError, OSError) as problem:  # whatever it is, watching the others goes on
            self.log.error("cannot record", act=event.text, problem=str(problem))
