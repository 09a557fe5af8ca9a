"""A worker process: serves calls on its sockets until it is told to drain.

It is forked by the supervisor, inherits its slot's listening sockets and the key of the handover, and opens
nothing else: not the KEK, not the record's. It needs neither control nor recorder to start or to serve.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import uvloop

from interlock.audit import AttestPage, SegmentWriter
from interlock.clock import SystemClock
from interlock.errors import InterlockError
from interlock.gateway.assertion import Assertions
from interlock.gateway.calls import CallRecorder
from interlock.gateway.failures import Failures
from interlock.gateway.http1 import ReadLimits
from interlock.gateway.listener import Budgets, Listener
from interlock.gateway.meter import Meter
from interlock.gateway.pipeline import Pipeline
from interlock.gateway.state import WorkerState
from interlock.gateway.tls import Certificates
from interlock.gateway.whereabouts import Whereabouts
from interlock.identity import open_guard
from interlock.keys import DayRecipient, Handover, intake
from interlock.snapshot import LimitSpec, NodePage
from interlock.snapshot.address import socket_name
from interlock.snapshot.counters import CounterTable
from interlock.snapshot.metrics import Counter, MetricsPage
from interlock.snapshot.page import (
    CONTROL_SEEN_NS,
    DRAINING,
    EPOCH_ACKED,
    FIRST_WORKER_SLOT,
    GENERATION,
    GENERATION_ACKED,
    READY,
    SEALED_NS,
    slot_base,
)
from interlock.snapshot.sightings import SightingTable

log = logging.getLogger("interlock.worker")

SWEEP = 1.0  # seconds
SWITCH = 0.0005  # seconds after which a thread that reads a snapshot gives way to the calls
LATE = 0.05  # seconds after which a sweep counts as late: something held the event loop, or the machine is short
DRAIN = 30.0  # seconds a call in progress may still take
REMAKE_TLS = 24 * 3600.0


class Worker:
    """Wires the parts of one worker process together and drives them by one sweep a second."""

    def __init__(
        self,
        slot: int,
        sockets: list[socket.socket],
        data_dir: Path,
        handover_key: bytes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        run = data_dir / "run"
        self._loop = loop
        self._run = run
        self._slot = slot
        self._base = slot_base(slot)
        self._sockets = sockets
        self._page = NodePage.open(run / "page")
        self._clock = SystemClock()
        self._page.beat(slot, self._clock.monotonic())
        self._born = self._clock.wall()
        self._handover = Handover(run / "handover", handover_key)
        self._handed = self._handover.get()
        self._assertions = Assertions(self._handed.assertion_key)
        self._inbox = self._bind_inbox(run / f"worker-{slot}.sock")
        counters = CounterTable.open(run / "counters")
        self._writer = SegmentWriter(
            data_dir / "record",
            f"worker-{slot - FIRST_WORKER_SLOT}",
            DayRecipient(data_dir / "keys"),
            attest=AttestPage.open(run / "attest"),
            intake=lambda: intake(data_dir / "keys"),
        )
        self._state = WorkerState(
            run,
            self._page,
            loop=loop,
            lookup_key=self._handed.lookup_key,
            counters=counters,
            refresh=self._ask_refresh,
            proofs=open_guard(run, self._handover, self._clock.monotonic),
        )
        node = self._state.live.node
        spec = node.connections
        self._calls = CallRecorder(self._writer, loop)
        self._meter = Meter(MetricsPage.open(run / "metrics").take_row(slot))
        self._pipeline = Pipeline(
            state=self._state,
            calls=self._calls,
            assertions=self._assertions,
            failures=Failures(counters, LimitSpec(spec.failures, spec.failures_period_ns, spec.failures, "address")),
            meter=self._meter,
            seen=Whereabouts(SightingTable.open(run / "sightings")),
            wall=self._clock.wall,
            monotonic=self._clock.monotonic,
        )
        self._budgets = Budgets(spec)
        self._limits = ReadLimits(head_size=spec.head_size, head_count=spec.head_count)
        self._listeners = [self._listener(sock, index) for index, sock in enumerate(sockets)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._due = loop.time() + SWEEP
        self._late = 0
        self._tls_made = loop.time()

    def start(self) -> None:
        """Begin to serve."""
        loop = self._loop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)
        loop.add_reader(self._inbox.fileno(), self._on_inbox)
        self._acknowledge()
        for listener in self._listeners:
            listener.start()
        self._page.set_state(self._slot, READY)
        self._sweep_later()

    async def run(self) -> None:
        """Serve until drained."""
        self.start()
        await self._stopped.wait()
        self._pipeline.sweep()  # what floods were counted since the last one
        await self._calls.close()
        self._measure()

    # -- what it is told

    def _bind_inbox(self, path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        path.unlink(missing_ok=True)
        with socket_name(path) as name:
            sock.bind(name)
        path.chmod(0o600)
        return sock

    def _on_inbox(self) -> None:
        try:
            while True:
                self._inbox.recv(256)
        except BlockingIOError:
            pass
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Apply what was announced and say so; a newer snapshot is taken over beside the calls."""
        if self._state.directory.behind:
            self._state.catch_up()
        if not self._state.damaged:
            self._page.words[self._base + EPOCH_ACKED] = self._state.directory.offset
        self._page.words[self._base + GENERATION_ACKED] = self._state.generation
        if self._page.words[GENERATION] != self._state.generation:
            task = self._loop.create_task(self._follow())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _follow(self) -> None:
        try:
            await self._state.follow()
        except (InterlockError, OSError) as problem:
            log.error("the new snapshot cannot be used, the present one stays: %s", problem)
            return
        self._take_keys()
        self._page.words[self._base + GENERATION_ACKED] = self._state.generation
        self._remake_tls()

    def _take_keys(self) -> None:
        """A key that was rotated comes with a snapshot; those that were there go on if it cannot be read."""
        try:
            handed = self._handover.get()
        except InterlockError as problem:
            log.error("the keys cannot be read, the present ones stay: %s", problem)
            return
        if handed.assertion_key != self._handed.assertion_key:
            self._assertions.sign_with(handed.assertion_key)
        self._handed = handed

    def _ask_refresh(self, issuer: str) -> None:
        """A token names a key nobody knows: control may fetch the issuer's keys. Loss is harmless."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                with socket_name(self._run / "control-inbox.sock") as name:
                    sock.sendto(b"refresh " + issuer.encode(), name)
            except OSError:
                pass

    # -- once a second

    def _sweep(self) -> None:
        """Beats the heart last: a worker that cannot look around is taken for one that hangs, and replaced."""
        now = self._loop.time()
        self._late += now - self._due > LATE
        self._sweep_later()
        monotonic = self._clock.monotonic()
        self._acknowledge()
        self._state.watch_control(self._page.words[CONTROL_SEEN_NS], monotonic)
        sealed = self._page.words[SEALED_NS] or self._born  # a recorder that never seals is none
        self._calls.unsealed = self._clock.wall() - sealed > self._state.live.node.max_unsealed_ns
        self._state.tokens.expire(self._clock.wall())
        for listener in self._listeners:
            listener.sweep(now)
        self._state.sweep(now)
        self._pipeline.sweep()
        self._calls.sweep()
        self._writer.renew()
        self._measure()
        if now - self._tls_made > REMAKE_TLS:
            self._remake_tls()
        self._page.beat(self._slot, monotonic)

    def _sweep_later(self) -> None:
        self._due = self._loop.time() + SWEEP
        self._loop.call_at(self._due, self._sweep)

    def _measure(self) -> None:
        """Bring to the shared page what is counted where it happens."""
        state, calls, writer = self._state, self._calls, self._writer
        self._meter.settle()
        self._meter.bring(
            {
                Counter.UPSTREAM_CONNECTIONS: state.upstreams.connections,
                Counter.UPSTREAM_RETRIES: state.upstreams.retries,
                Counter.TOKENS_VERIFIED: state.tokens.examined,
                Counter.SNAPSHOTS_TAKEN: state.swaps,
                Counter.LATE_SWEEPS: self._late,
                Counter.RECORD_FRAMES: writer.frames,
                Counter.RECORD_BYTES: writer.written,
                Counter.RECORD_FLUSHES: writer.flushes,
                Counter.RECORD_SYNCS: calls.syncs,
                Counter.RECORD_FAILURES: writer.failures + calls.failed_syncs,
                Counter.OPEN_CONNECTIONS: self._budgets.connections,
                Counter.OPEN_HANDSHAKES: self._budgets.handshakes,
                Counter.OPEN_CALLS: sum(listener.calls for listener in self._listeners),
                Counter.OPEN_UPSTREAM: state.open_upstream,
            }
        )

    # -- listeners

    def _listener(self, sock: socket.socket, index: int) -> Listener:
        return Listener(
            self._loop,
            sock,
            pipeline=self._pipeline,
            budgets=self._budgets,
            limits=self._limits,
            trusted=lambda: self._state.trusted_proxies,
            certificates=self._certificates(index),
            meter=self._meter,
        )

    def _certificates(self, index: int) -> Certificates | None:
        node = self._state.live.node
        spec = node.listeners[index]
        if spec.tls == "off":
            return None
        bundles = [trust.ca_pem for trust in node.trust.values()]
        return Certificates(spec, [*bundles, *node.client_anchors], self._handed.server)

    def _remake_tls(self) -> None:
        """New contexts: new ticket keys, and certificates that were replaced on disk."""
        self._tls_made = self._loop.time()
        for index, listener in enumerate(self._listeners):
            if listener.certificates is not None:
                try:
                    listener.certificates = self._certificates(index)
                except OSError as problem:
                    log.error("a certificate cannot be read, the present one stays: %s", problem)

    def _drain(self) -> None:
        """Finish what is in progress, take nothing new."""
        if self._pipeline.draining:
            return
        self._pipeline.draining = True
        self._page.set_state(self._slot, DRAINING)
        for listener in self._listeners:
            listener.drain()
        self._drained(self._loop.time() + DRAIN)

    def _drained(self, deadline: float) -> None:
        if not any(listener.connections for listener in self._listeners):
            self._stopped.set()
        elif self._loop.time() > deadline:
            for listener in self._listeners:
                listener.abort()
            self._loop.call_later(0.05, self._stopped.set)
        else:
            self._loop.call_later(0.02, self._drained, deadline)


def run(slot: int, sockets: list[socket.socket], data_dir: Path, handover_key: bytes) -> NoReturn:
    """The worker's life, after the fork. Exits with 0 when drained, 1 when it could not start."""
    code = 0
    sys.setswitchinterval(SWITCH)
    try:
        uvloop.run(_main(slot, sockets, data_dir, handover_key))
    except (InterlockError, OSError) as problem:
        print(f"worker {slot}: {problem}", file=sys.stderr, flush=True)
        code = 1
    sys.stderr.flush()
    os._exit(code)


async def _main(slot: int, sockets: list[socket.socket], data_dir: Path, handover_key: bytes) -> None:
    await Worker(slot, sockets, data_dir, handover_key, asyncio.get_running_loop()).run()
