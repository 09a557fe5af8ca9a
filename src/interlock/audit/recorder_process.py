"""The recorder as a process: ticks until it is told to stop, then seals everything and leaves in good order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from interlock.audit.attest import AttestPage
from interlock.audit.prune import RetentionOf
from interlock.audit.recorder import Recorder
from interlock.audit.segment import Recipient
from interlock.audit.timekeeping import kernel_sync
from interlock.audit.tree import Signer
from interlock.audit.voice import Page

_BUSY = 0.1  # seconds between ticks under load
_IDLE = 0.25
_LAST_TRIES = 3.0  # seconds for the disk to come back before leaving all the same


def run_recorder(
    record: Path,
    recipient: Recipient,
    signer: Signer,
    page: Page,
    attest: AttestPage,
    *,
    on_tick: Callable[[Recorder], None] | None = None,
    prune: tuple[Path, RetentionOf] | None = None,
) -> bool:
    """Run until SIGTERM or SIGINT; says whether everything was sealed.

    `on_tick` is called after each tick, for heartbeats and metrics. The caller holds the data directory's
    lock and stops the writers first. `prune`: as of the `Recorder`.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})  # whoever starts us may hold them back
    recorder = Recorder(record, recipient, signer, page, attest, ask_time=kernel_sync, prune=prune)
    pause = _BUSY
    while not stopping:
        pause = _BUSY if recorder.tick() else min(_IDLE, pause * 1.5)
        if on_tick is not None:
            on_tick(recorder)
        if not stopping:
            time.sleep(pause)
    deadline = time.monotonic() + _LAST_TRIES
    while recorder.tick() or recorder.trouble:
        if time.monotonic() > deadline:
            break
        time.sleep(_BUSY)
    return recorder.stop()


class NoPage:
    """For a recorder that nobody watches."""

    def published(self, sealed_ns: int) -> None:
        """Nobody reads it."""

    def alarm(self) -> None:
        """It is on the record all the same."""


def seal_now(
    record: Path,
    recipient: Recipient,
    signer: Signer | None,
    attest: AttestPage,
    *,
    prune: tuple[Path, RetentionOf] | None = None,
) -> bool:
    """Seal what a command without a running node wrote; the caller holds the data directory's lock.

    Without a signer no checkpoint is made: the node's own recorder makes it at its next start.
    """
    return Recorder(record, recipient, signer, NoPage(), attest, prune=prune).stop()
