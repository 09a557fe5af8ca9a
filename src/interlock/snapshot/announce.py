"""Tells the workers that something changed, and waits until each of them has taken it up.

Every worker compares the epoch before it authorises a call, so the raised epoch alone keeps new calls
from being judged on older state. What is left is the one call a worker may be in the middle of, and the
worker that does not run at all (stopped, stuck): one that has not acknowledged in time is killed. When
`announce` returns, no live worker is without the change. It MUST NOT kill what it cannot prove to be
that worker: the process is pinned by a pidfd and its start time compared before the signal is sent.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import NamedTuple

from interlock.errors import NodeError
from interlock.snapshot.address import socket_name
from interlock.snapshot.page import (
    BIRTH,
    DRAINING,
    EPOCH,
    EPOCH_ACKED,
    FIRST_WORKER_SLOT,
    GENERATION,
    GENERATION_ACKED,
    KIND,
    PID,
    READY,
    STATE,
    WORKER,
    NodePage,
    process_birth,
    slot_base,
)

WAKE = b"wake"
_DEATH_MS = 2000  # a killed process that is not gone after this is in the kernel's hands


class Killed(NamedTuple):
    """A worker that did not acknowledge in time."""

    slot: int
    pid: int


def worker_socket(run_dir: Path, slot: int) -> Path:
    """Where a worker is woken (a datagram socket that it binds)."""
    return run_dir / f"worker-{slot}.sock"


def wake(run_dir: Path, page: NodePage) -> None:
    """Ask every serving worker to look at the page; loss is fine, they look before each call anyway."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
        for slot in _serving(page):
            try:
                with socket_name(worker_socket(run_dir, slot)) as name:
                    sender.sendto(WAKE, name)
            except OSError:
                pass  # gone, or its queue is full: it has something to read already


def announce(run_dir: Path, page: NodePage, timeout: float = 0.1) -> list[Killed]:
    """Return when every serving worker has acknowledged the present epoch; gives those killed for not doing so.

    A worker that is still starting is not waited for: it reads the epoch before its first call.
    `NodeError` if a killed worker does not go away.
    """
    epoch = page.words[EPOCH]
    deadline = time.monotonic() + timeout
    wake(run_dir, page)
    waiting = _behind(page, EPOCH_ACKED, epoch)
    while waiting and time.monotonic() < deadline:
        time.sleep(0.0005)
        waiting = _behind(page, EPOCH_ACKED, epoch)
    return [Killed(slot, pid) for slot, pid, birth in waiting if _kill(slot, pid, birth, page, epoch)]


def await_generation(run_dir: Path, page: NodePage, timeout: float = 10.0) -> list[int]:
    """Wait until every serving worker uses the present snapshot; gives the slots that do not yet. Kills nobody."""
    generation = page.words[GENERATION]
    deadline = time.monotonic() + timeout
    wake(run_dir, page)
    while waiting := _behind(page, GENERATION_ACKED, generation):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.002)
    return [slot for slot, _, _ in waiting]


def _serving(page: NodePage) -> list[int]:
    words = page.words
    return [
        slot
        for slot in range(FIRST_WORKER_SLOT, page.slots)
        if words[slot_base(slot) + KIND] == WORKER and words[slot_base(slot) + STATE] in (READY, DRAINING)
    ]


def _behind(page: NodePage, word: int, wanted: int) -> list[tuple[int, int, int]]:
    """(slot, pid, birth) of serving workers that run and have not reached `wanted`."""
    words = page.words
    behind = []
    for slot in _serving(page):
        base = slot_base(slot)
        if words[base + word] < wanted:
            pid, birth = words[base + PID], words[base + BIRTH]
            if pid and birth and process_birth(pid) == birth:
                behind.append((slot, pid, birth))
    return behind


def _kill(slot: int, pid: int, birth: int, page: NodePage, epoch: int) -> bool:
    """Kill the worker and wait for its end; False if it went or acknowledged by itself."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # The pidfd pins whoever has the pid now; the start time tells whether that is the worker.
        if process_birth(pid) != birth:
            return False
        base = slot_base(slot)
        if page.words[base + PID] == pid and page.words[base + EPOCH_ACKED] >= epoch:
            return False
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise NodeError(f"worker {slot} (pid {pid}) did not acknowledge and may not be killed by us") from error
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if not poller.poll(_DEATH_MS):
            raise NodeError(f"worker {slot} (pid {pid}) did not acknowledge and does not die")
        return True
    finally:
        os.close(fd)
