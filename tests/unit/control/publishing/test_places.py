"""Where published checkpoints are kept: folders and clones. HTTP is tested with a real receiver, in integration."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from interlock.clock import SECOND
from interlock.control.publishing.places import FilePlace, GitPlace, Published, copy_name
from interlock.errors import NodeError
from tests.unit.witness.logs import NOW, Log

LOG = Log("interlock/0123456789abcdef").grow(20)


def made(size: int, at: int = NOW) -> Published:
    return Published(LOG.origin, size, at * SECOND, LOG.checkpoint(size))


def test_copies_are_named_by_size_and_time(tmp_path: Path) -> None:
    place = FilePlace(tmp_path)
    for size, at in ((13, NOW + 60), (8, NOW), (8, NOW), (13, NOW + 120)):
        place.keep(made(size, at))
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "000000000008-20231114T221320Z-89abcdef.checkpoint",
        "000000000013-20231114T221420Z-89abcdef.checkpoint",
        "000000000013-20231114T221520Z-89abcdef.checkpoint",
    ]
    assert (tmp_path / copy_name(made(8))).read_bytes() == LOG.checkpoint(8)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        FilePlace(tmp_path / "mount").keep(made(8))
    assert not (tmp_path / "mount").exists()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    run(tmp_path, "init", "-q", "--bare", "bare")
    run(tmp_path, "clone", "-q", "bare", "clone")
    return tmp_path / "clone"


def run(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_commit_for_each_and_a_push(clone: Path) -> None:
    place = GitPlace(clone, 20)
    place.keep(made(8))
    place.keep(made(8))
    place.keep(made(13))
    bare = clone.parent / "bare"
    assert run(bare, "log", "--format=%s").splitlines() == ["13 records", "8 records"]
    name = "interlock-0123456789abcdef.checkpoint"
    assert run(bare, "show", f"HEAD:{name}").encode() == LOG.checkpoint(13)


def test_what_could_not_be_pushed_is_pushed_the_next_time(clone: Path) -> None:
    place = GitPlace(clone, 20)
    place.keep(made(8))
    bare = clone.parent / "bare"
    bare.rename(clone.parent / "away")
    with pytest.raises(NodeError, match="git push"):
        place.keep(made(13))
    (clone.parent / "away").rename(bare)
    place.keep(made(13))
    assert run(bare, "log", "--format=%s").splitlines() == ["13 records", "8 records"]


def test_without_a_remote_it_is_committed(tmp_path: Path) -> None:
    run(tmp_path, "init", "-q", "alone")
    GitPlace(tmp_path / "alone", 20).keep(made(8))
    assert run(tmp_path / "alone", "log", "--format=%s").splitlines() == ["8 records"]


def test_hooks_do_not_run_and_what_hangs_is_ended(clone: Path) -> None:
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    GitPlace(clone, 20).keep(made(8))
    assert not (clone / "ran").exists()
    run(clone, "remote", "set-url", "origin", "ext::sleep 60")
    run(clone, "config", "protocol.ext.allow", "always")
    began = time.monotonic()
    with pytest.raises(NodeError, match="git push took too long"):
        GitPlace(clone, 1).keep(made(13))
    assert time.monotonic() - began < 15


def test_what_is_no_clone_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no clone"):
        GitPlace(tmp_path, 20).keep(made(8))
    assert list(tmp_path.iterdir()) == []
