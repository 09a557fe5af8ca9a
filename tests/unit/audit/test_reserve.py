"""The disk reserve: spent by whoever needs it, taken back only when there is plenty."""

from __future__ import annotations

import errno

import pytest

from interlock.audit.reserve import Reserve
from tests.unit.audit.storage import World


def test_it_is_set_aside_spent_and_taken_back(world: World) -> None:
    reserve = Reserve(world.record, world.disk, 8192)
    assert not reserve.present()
    assert reserve.restore()
    assert reserve.present()
    assert reserve.path.stat().st_size == 8192
    reserve.release()
    reserve.release()  # another process was first
    assert not reserve.present()
    assert reserve.restore()


def test_it_is_not_taken_back_while_space_is_short(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.disk, "free_space", lambda path: 4 * 8192 - 1)
    assert not Reserve(world.record, world.disk, 8192).restore()


@pytest.mark.parametrize("step", ["create", "allocate", "rename"])
def test_a_failure_leaves_no_half_reserve(world: World, step: str) -> None:
    reserve = Reserve(world.record, world.disk, 8192)
    world.disk.fault = lambda name, path, done: OSError(errno.ENOSPC, "no") if name == step and not done else None
    assert not reserve.restore()
    assert list(world.record.iterdir()) == []
