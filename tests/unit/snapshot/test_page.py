"""The shared page."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from interlock.errors import SnapshotError
from interlock.snapshot import NodePage
from interlock.snapshot.page import (
    BIRTH,
    CONTROL,
    EPOCH,
    FIRST_WORKER_SLOT,
    GENERATION,
    READY,
    WORKER,
    process_birth,
    slot_base,
)


def test_what_one_process_writes_another_sees(tmp_path: Path) -> None:
    page = NodePage.create(tmp_path / "page", 5)
    page.words[EPOCH] = 8
    pid = os.fork()
    if pid == 0:
        other = NodePage.open(tmp_path / "page")
        other.claim(FIRST_WORKER_SLOT, WORKER, 123)
        other.set_state(FIRST_WORKER_SLOT, READY)
        other.beat(FIRST_WORKER_SLOT, 456)
        other.words[GENERATION] = other.words[EPOCH] + 1
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert page.words[GENERATION] == 9
    process = page.process(FIRST_WORKER_SLOT)
    assert (process.kind, process.pid, process.state) == ("worker", pid, "ready")
    assert (process.started_ns, process.heartbeat_ns, process.restarts) == (123, 456, 0)
    assert not process.alive, "the child is gone, whatever the page says"
    assert [one.slot for one in page.processes()] == [FIRST_WORKER_SLOT]


def test_the_page_is_for_its_owner_only(tmp_path: Path) -> None:
    NodePage.create(tmp_path / "page", 3)
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o600


def test_a_fresh_page_does_not_move_under_the_old_one(tmp_path: Path) -> None:
    old = NodePage.create(tmp_path / "page", 3)
    old.words[EPOCH] = 77
    fresh = NodePage.create(tmp_path / "page", 4)
    assert old.words[EPOCH] == 77
    assert fresh.words[EPOCH] == 0
    assert NodePage.open(tmp_path / "page").slots == 4


def test_claiming_again_forgets_the_predecessor_but_for_its_restarts(tmp_path: Path) -> None:
    page = NodePage.create(tmp_path / "page", 4)
    page.claim(2, CONTROL, 1)
    page.set_state(2, READY)
    page.beat(2, 99)
    page.restarted(2)
    page.release(2)
    assert page.process(2).state == "gone"
    page.claim(2, CONTROL, 5)
    process = page.process(2)
    assert (process.state, process.heartbeat_ns, process.restarts, process.pid) == ("starting", 0, 1, os.getpid())
    assert process.alive


def test_a_reused_pid_is_not_the_process(tmp_path: Path) -> None:
    page = NodePage.create(tmp_path / "page", 4)
    page.claim(3, WORKER, 1, pid=os.getpid())
    page.words[slot_base(3) + BIRTH] += 1  # as if it had been born later
    assert not page.process(3).alive


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert process_birth(child.pid) > 0
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_birth(child.pid) == 0
    child.wait()
    assert process_birth(child.pid) == 0


@pytest.mark.parametrize("content", [b"", b"x" * 7, bytes(1024), b"ILKPAGE9" + bytes(1016)])
def test_what_is_not_a_page_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page").write_bytes(content)
    with pytest.raises(SnapshotError):
        NodePage.open(tmp_path / "page")


def test_a_cut_page_is_refused(tmp_path: Path) -> None:
    NodePage.create(tmp_path / "page", 4).close()
    os.truncate(tmp_path / "page", 256)
    with pytest.raises(SnapshotError):
        NodePage.open(tmp_path / "page")
    with pytest.raises(SnapshotError, match="No such file"):
        NodePage.open(tmp_path / "none")


def test_there_is_no_slot_beyond_the_last(tmp_path: Path) -> None:
    page = NodePage.create(tmp_path / "page", 4)
    for slot in (4, -1):
        with pytest.raises(IndexError):
            page.beat(slot, 1)
