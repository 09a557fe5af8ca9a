"""What each process of a node runs, and what it is given. Only `prepare`, `control` and `analyst` open the KEK."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.clock import SystemClock
from interlock.config import withdrawn
from interlock.control.log import Log, bridge_logging
from interlock.control.paths import Paths
from interlock.errors import KeyMaterialError
from interlock.snapshot import Counter, MetricsPage, NodePage, Tallies
from interlock.snapshot.page import (
    ALARMS,
    CLOCK_ERROR_NS,
    CLOCK_STEP_NS,
    CLOCK_STEPPED_NS,
    CLOCK_STEPS,
    CLOCK_SYNC,
    CLOCK_UNSYNCHRONISED_NS,
    READY,
    RECORDER_SLOT,
    SEALED_NS,
    SYNCHRONISED,
    UNKNOWN_SYNC,
    UNSYNCHRONISED,
)
from interlock.supervisor.environment import environment_of
from interlock.supervisor.prepare import Prepared, in_child

if TYPE_CHECKING:
    from interlock.audit import Recorder
    from interlock.audit.timekeeping import Timekeeper
    from interlock.config import Config
    from interlock.keys import LogKey
    from interlock.model.retention import Retention


class Bodies:
    """Made by the supervisor before it forks; each method runs in a child of its own."""

    def __init__(
        self, file: Path, config: Config, paths: Paths, page: NodePage, admin: socket.socket, log: Log
    ) -> None:
        self._file = file
        self._config = config
        # Told here once: a child that walked through ten thousand routes would have a copy of all of them.
        self._kept_back = environment_of(config)
        self._paths = paths
        self._page = page
        self._admin = admin
        self._log = log
        self._prepared: Prepared | None = None

    def give(self, prepared: Prepared) -> None:
        """What workers and control will need."""
        self._prepared = prepared

    def load(self) -> None:
        """Import here what several processes need, so that it is done once and they share it."""
        import interlock.control.certificates
        import interlock.control.reload
        import interlock.control.service
        import interlock.gateway.worker  # noqa: F401

    def prepare(self) -> Prepared:
        """Keys, state, certificate and the first snapshot."""
        from interlock.control.build import SnapshotBuilder
        from interlock.control.certificates import ensure_certificate
        from interlock.control.compile import uses_own_authority
        from interlock.control.issuer_status import ISSUER_REPORT, IssuerStatus
        from interlock.control.keyring import hand_over
        from interlock.control.reload import apply
        from interlock.control.service import Administration
        from interlock.control.wire import os_actor
        from interlock.keys import Handover, RecordDays, ensure_log_key, handover_key

        clock = SystemClock()
        notes = []
        desk = Administration(self._file, self._config, writer="prepare", page=self._page, clock=clock)
        if not (self._paths.keys / "record.pub").exists():
            notes.append("made the node's keys")
        desk.keyring.ensure()
        ensure_log_key(desk.keyring)
        RecordDays(desk.keyring, clock).tend(self._config.retention_class)
        acts = desk.acts(os_actor())
        try:
            if uses_own_authority(self._config) and ensure_certificate(
                self._config, self._paths, desk.keyring, acts, clock
            ):
                notes.append(f"issued a server certificate; callers trust {self._paths.pki / 'ca.pem'}")
            builder = SnapshotBuilder(self._paths, desk.state, self._page, clock)
            config, _ = apply(self._file, builder, before=None, acts=acts, keyring=desk.keyring)
            # Until control says otherwise.
            own = config.issuer
            ISSUER_REPORT.write(self._paths.run, None if own is None else IssuerStatus(own.url, serving=False))
            key = handover_key()
            hand_over(Handover(self._paths.handover, key), desk.keyring, config)
            return Prepared(key, config.digest, notes)
        finally:
            acts.close()

    def recorder(self) -> None:
        """Seals what the others write."""
        from interlock.audit import AttestPage, LogSigner, run_recorder
        from interlock.audit.prune import REQUESTS
        from interlock.keys import DayRecipient, LogKey, log_names

        # Told to stop while it still starts, it stops in good order as ever: `run_recorder` hears of it then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        # The one key that it needs, opened by a child: it never holds the key-encryption key.
        key = in_child(self._log_key, LogKey)
        self._settle("recorder")
        signer = LogSigner(key.origin, key.private, log_names(self._paths.keys).keys)
        page, clock = self._page, SystemClock()
        page.set_state(RECORDER_SLOT, READY)
        page.beat(RECORDER_SLOT, clock.monotonic())
        tallies = Tallies(MetricsPage.open(self._paths.metrics).take_row(RECORDER_SLOT))

        def alive(recorder: Recorder) -> None:
            page.beat(RECORDER_SLOT, clock.monotonic())
            tallies.bring(
                {
                    Counter.RECORD_SEALED: recorder.sealed,
                    Counter.RECORD_SEALS: recorder.seals,
                    Counter.RECORD_FRAMES: recorder.own.frames,
                    Counter.RECORD_BYTES: recorder.own.written,
                    Counter.RECORD_FLUSHES: recorder.own.flushes,
                    Counter.RECORD_FAILURES: recorder.own.failures,
                }
            )
            if recorder.time is not None:
                show_time(page, recorder.time)

        sealed = run_recorder(
            self._paths.record,
            DayRecipient(self._paths.keys),
            signer,
            RecordWords(page),
            AttestPage.open(self._paths.attest),
            on_tick=alive,
            prune=(self._paths.run / REQUESTS, self._retention),
        )
        raise SystemExit(0 if sealed else 1)

    def _retention(self) -> Retention | None:
        """As the node runs with: asked only while something is to be pruned."""
        from interlock.control.reload import read_applied

        kept = read_applied(self._paths, self._file).record.retention
        return None if kept is None else kept.by_class

    def _log_key(self) -> LogKey:
        from interlock.control.reload import read_applied
        from interlock.keys import open_keyring, open_log_key

        # Not as the node was started with: the KEK may have been rotated since.
        keys = read_applied(self._paths, self._file).keys
        return open_log_key(open_keyring(keys, self._paths.keys, clock=SystemClock()))

    def control(self) -> None:
        """Answers commands and keeps things fresh."""
        from interlock.control.main import run

        self._settle("control", keeps_environment=True)
        run(self._file, self._config.data_dir, self._admin, self._log.named("control"), self._handover_key())

    def analyst(self) -> None:
        """Reads the sealed record for others. Secrets of exports may be in the environment."""
        from interlock.analyst.main import run

        self._prepared = None
        self._settle("analyst", keeps_environment=True)
        run(self._file, self._config, self._page, self._log.named("analyst"))

    def worker(self, slot: int, sockets: list[socket.socket]) -> Callable[[], None]:
        """The body of the worker in `slot`."""

        def body() -> None:
            from interlock.gateway.worker import run

            self._settle(f"worker-{slot}")
            run(slot, sockets, self._config.data_dir, self._handover_key())

        return body

    def _handover_key(self) -> bytes:
        if self._prepared is None:
            raise KeyMaterialError("nothing was prepared")
        return self._prepared.handover_key

    def _settle(self, name: str, *, keeps_environment: bool = False) -> None:
        """Say whose log it is; what came by the environment to open keys goes no further."""
        bridge_logging(self._log.named(name))
        if not keeps_environment:
            withdrawn.forget()
            for name in self._kept_back:
                os.environ.pop(name, None)


def show_time(page: NodePage, time: Timekeeper) -> None:
    """What the recorder knows of the clock, on the shared page."""
    words, last, sync = page.words, time.last, time.sync
    words[CLOCK_STEPS] = time.steps
    words[CLOCK_STEP_NS] = 0 if last is None else last.size_ns & (1 << 64) - 1
    words[CLOCK_STEPPED_NS] = 0 if last is None else last.after_ns
    words[CLOCK_SYNC] = UNKNOWN_SYNC if sync is None else SYNCHRONISED if sync.synchronised else UNSYNCHRONISED
    words[CLOCK_UNSYNCHRONISED_NS] = time.unsynchronised_since
    words[CLOCK_ERROR_NS] = 0 if sync is None else sync.estimated_error_ns


class RecordWords:
    """The recorder's words on the shared page."""

    def __init__(self, page: NodePage) -> None:
        self._words = page.words

    def published(self, sealed_ns: int) -> None:
        self._words[SEALED_NS] = sealed_ns

    def alarm(self) -> None:
        self._words[ALARMS] += 1
