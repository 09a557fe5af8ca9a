"""One owner of the data directory at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.control.lock import DataLock, is_held
from interlock.errors import NodeError


def test_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    first = DataLock.take(tmp_path / "data", "node")
    with pytest.raises(NodeError, match=rf"in use by node \(process {os.getpid()}\)"):
        DataLock.take(tmp_path / "data", "cli", wait=0)
    first.release()
    DataLock.take(tmp_path / "data", "cli", wait=0).release()


def test_looking_takes_nothing(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    lock = DataLock.take(tmp_path, "node")
    assert is_held(tmp_path)
    lock.release()
    assert not is_held(tmp_path)
    DataLock.take(tmp_path, "cli", wait=0).release()


def test_a_child_keeps_the_lock_when_the_parent_lets_go(tmp_path: Path) -> None:
    lock = DataLock.take(tmp_path, "node")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    lock.release()
    assert is_held(tmp_path)
    os.close(write)
    os.waitpid(pid, 0)
    assert not is_held(tmp_path)


def test_the_lock_is_private(tmp_path: Path) -> None:
    lock = DataLock.take(tmp_path / "data", "node")
    assert lock.path.stat().st_mode & 0o777 == 0o600
    assert lock.path.parent.stat().st_mode & 0o777 == 0o700
    lock.release()
