"""A sleeping worker is woken by a datagram, and a full or missing socket hurts nobody."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from interlock.snapshot import NodePage, wake, worker_socket
from interlock.snapshot.page import FIRST_WORKER_SLOT, READY, WORKER

pytestmark = pytest.mark.integration


def test_wake(tmp_path: Path) -> None:
    page = NodePage.create(tmp_path / "page", FIRST_WORKER_SLOT + 2)
    for slot in (FIRST_WORKER_SLOT, FIRST_WORKER_SLOT + 1):
        page.claim(slot, WORKER, time.time_ns())
        page.set_state(slot, READY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(worker_socket(tmp_path, FIRST_WORKER_SLOT + 1)))
        receiver.settimeout(5)
        wake(tmp_path, page)  # the first worker has no socket
        assert receiver.recv(16) == b"wake"
        started = time.monotonic()
        for _ in range(2000):
            wake(tmp_path, page)  # far more than the queue takes
        assert time.monotonic() - started < 5
