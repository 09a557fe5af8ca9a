"""What a witness has cosigned is never forgotten: every step of the disk fails, before and after, and the power."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from interlock.clock import ManualClock
from interlock.errors import KeyMaterialError, NodeError, StateError, UsageError
from interlock.witness import Known, Store, Witness, group_logs, open_cosigner
from tests.unit.audit.storage import Disk
from tests.unit.witness.logs import Log, cosigner

LOG = Log().grow(20)
FORK = Log().grow(5).grow(20, "fork ")


def make(folder: Path, disk: Disk | None = None) -> tuple[Witness, Store]:
    store = Store(folder, disk)
    return Witness(group_logs([LOG.vkey]), cosigner(), store, ManualClock()), store


def steps_of_one_request(folder: Path) -> int:
    disk = Disk()
    witness, store = make(folder, disk)
    witness.add_checkpoint(LOG.request(0, 8))
    before = len(disk.steps)
    assert witness.add_checkpoint(LOG.request(8, 13)).status == 200
    store.close()
    return len(disk.steps) - before


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done and said to have failed"])
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_no_step_of_the_disk_lets_two_histories_be_cosigned(tmp_path: Path, done: bool, power: bool) -> None:
    """After whatever failed: what was cosigned is known, and the other history is refused."""
    count = steps_of_one_request(tmp_path / "count")
    assert count >= 5, "aside, written, synced, renamed, the folder synced"
    for failing in range(count):
        disk = Disk()
        witness, store = make(tmp_path / f"{failing}", disk)
        assert witness.add_checkpoint(LOG.request(0, 8)).status == 200
        seen = 0

        def fault(name: str, path: Path, after: bool, failing: int = failing) -> OSError | None:
            nonlocal seen
            if after is done:
                seen += 1
                if seen == failing + 1:
                    return OSError(errno.EIO, "the disk fails")
            return None

        disk.fault = fault
        try:
            status = witness.add_checkpoint(LOG.request(8, 13)).status
        except OSError:
            status = 0
        disk.fault = None
        if power:
            disk.power_cut()
        store.close()
        again, store = make(tmp_path / f"{failing}")
        size = store.known(LOG.origin).size
        assert size in (8, 13)
        if status == 200:
            assert size == 13, "what was answered is on disk"
        assert again.add_checkpoint(FORK.request(size, 20)).status == 422
        assert again.add_checkpoint(FORK.request(0, 20)).status == 409
        assert again.add_checkpoint(LOG.request(size, 20)).status == 200
        store.close()


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_at_any_step_it_has_forgotten_nothing(tmp_path: Path, done: bool) -> None:
    """SIGKILL before and after each step of the disk; a cosignature that left is of a tree that is known."""
    killed = 0
    for step in range(steps_of_one_request(tmp_path / "count") + 1):
        folder = tmp_path / f"{step}"
        witness, store = make(folder)
        witness.add_checkpoint(LOG.request(0, 8))
        store.close()
        read, write = os.pipe()
        child = os.fork()
        if not child:
            _ask_and_die(folder, step, done, write)
        os.close(write)
        answered = os.read(read, 10_000)
        os.close(read)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        again, store = make(folder)
        size = store.known(LOG.origin).size
        assert size in (8, 13)
        if answered:
            assert size == 13
        assert again.add_checkpoint(FORK.request(size, 20)).status == 422
        assert again.add_checkpoint(LOG.request(size, 20)).status == 200
        store.close()
    assert killed >= 5


def _ask_and_die(folder: Path, step: int, done: bool, write: int) -> None:
    """In a child: dies at the step; what was answered before goes to the pipe. Never returns."""
    try:
        disk = Disk()
        witness, _ = make(folder, disk)
        seen = 0

        def fault(name: str, path: Path, after: bool) -> None:
            nonlocal seen
            if after is done:
                seen += 1
                if seen == step + 1:
                    os.kill(os.getpid(), signal.SIGKILL)

        disk.fault = fault
        answer = witness.add_checkpoint(LOG.request(8, 13))
        if answer.status == 200:
            os.write(write, answer.body)
    finally:
        os._exit(0)


def test_after_a_failure_the_same_process_goes_on_with_what_is_on_disk(tmp_path: Path) -> None:
    disk = Disk()
    witness, store = make(tmp_path / "w", disk)
    witness.add_checkpoint(LOG.request(0, 8))
    disk.fault = lambda name, path, done: OSError(errno.EIO, "no") if name == "sync_folder" and not done else None
    with pytest.raises(OSError):
        witness.add_checkpoint(LOG.request(8, 13))
    disk.fault = None
    assert witness.add_checkpoint(FORK.request(8, 13)).status == 409, "the rename may have taken place"
    assert witness.add_checkpoint(LOG.request(13, 13)).status == 200
    disk.power_cut()
    assert store.known(LOG.origin).size == 13, "and is on disk once it is cosigned"


def test_a_folder_has_one_witness(tmp_path: Path) -> None:
    store = Store(tmp_path / "w")
    with pytest.raises(NodeError, match="another witness"):
        Store(tmp_path / "w")
    store.close()
    Store(tmp_path / "w").close()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b'{"version":2,"origin":"example.com/log"}'])
def test_what_cannot_be_read_is_no_new_beginning(tmp_path: Path, damage: bytes) -> None:
    witness, store = make(tmp_path / "w")
    witness.add_checkpoint(LOG.request(0, 8))
    (file,) = (tmp_path / "w" / "logs").iterdir()
    file.write_bytes(damage)
    with pytest.raises(StateError, match="damaged"):
        witness.add_checkpoint(LOG.request(0, 13))
    whole = {"version": 1, "origin": "another", "size": 8, "root": "", "note": ""}
    file.write_text(json.dumps(whole))
    with pytest.raises(StateError):
        store.known(LOG.origin)


def test_the_proof_against_a_log_is_kept_once(tmp_path: Path) -> None:
    witness, store = make(tmp_path / "w")
    witness.add_checkpoint(LOG.request(0, 8))
    for other in (FORK, Log().grow(8, "third ")):
        body = b"old 8\n\n" + other.checkpoint(8)
        assert witness.add_checkpoint(body).status == 409
    (kept,) = (tmp_path / "w" / "logs").glob("*.conflict")
    assert kept.read_bytes() == FORK.checkpoint(8)
    assert store.known(LOG.origin).note == LOG.checkpoint(8)


def test_an_unknown_log_is_known_to_be_empty(tmp_path: Path) -> None:
    assert Store(tmp_path / "w").known("x") == Known()


def test_the_key_is_made_once_for_its_owner_only_and_keeps_its_name(tmp_path: Path) -> None:
    made = open_cosigner(tmp_path, "witness.example.com/w1")
    file = tmp_path / "key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert open_cosigner(tmp_path).key == open_cosigner(tmp_path, "witness.example.com/w1").key == made.key
    with pytest.raises(UsageError, match="another name"):
        open_cosigner(tmp_path, "other")
    with pytest.raises(UsageError, match="key name"):
        open_cosigner(tmp_path / "x", "not a name")
    file.chmod(0o644)
    with pytest.raises(KeyMaterialError, match="chmod"):
        open_cosigner(tmp_path)
    file.chmod(0o600)
    file.write_bytes(b"{}")
    with pytest.raises(KeyMaterialError, match="damaged"):
        open_cosigner(tmp_path)


def test_without_a_name_each_gets_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert open_cosigner(tmp_path / "a").key.name != open_cosigner(tmp_path / "b").key.name
