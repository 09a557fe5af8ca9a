"""Turning the KEK: every file is under the old or the new one at any moment, and in the end under the new one only."""

from __future__ import annotations

from pathlib import Path

import pytest

import interlock.keys.keyring as module
from interlock.clock import ManualClock
from interlock.errors import KeyMaterialError
from interlock.keys import Kek, Keyring, LocalKek

OLD, NEW = LocalKek(b"o" * 32), LocalKek(b"n" * 32)
NAMES = ["assertion", "ca", "intake", "inventory", "lookup", "record", "store"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ring = Keyring(tmp_path / "keys", OLD)
    ring.ensure()
    ring.seal("ca", b"the authority")
    return ring.folder


def contents(folder: Path, *keks: Kek) -> dict[str, bytes]:
    ring = Keyring(folder, keks[0], former=keks[1:])
    return {name: ring.open(name) for name in NAMES if name != "inventory"}


def test_all_of_it_moves_and_the_old_one_opens_nothing(folder: Path) -> None:
    before = contents(folder, OLD)
    ring = Keyring(folder, OLD)
    assert ring.rewrap(NEW) == len(NAMES)
    assert ring.names() == NAMES
    assert {ring.sealed_under(name) for name in NAMES} == {NEW.id}
    assert contents(folder, NEW) == before
    assert ring.open("ca") == b"the authority", "the keyring itself goes on with the new one"
    for name in NAMES:
        with pytest.raises(KeyMaterialError, match="another KEK"):
            Keyring(folder, OLD).open(name)
    assert Keyring(folder, NEW).rewrap(NEW) == 0


def test_the_inventory_says_which_is_active(folder: Path) -> None:
    Keyring(folder, OLD, clock=ManualClock(7)).rewrap(NEW)
    (old, new) = Keyring(folder, NEW).inventory().keys["kek"].versions
    assert (old.id, old.state(8), old.retired_ns) == (OLD.id, "retired", 7)
    assert (new.id, new.state(8), new.created_ns) == (NEW.id, "active", 7)


@pytest.mark.parametrize("persisted", [False, True])
@pytest.mark.parametrize("step", range(len(NAMES)))
def test_broken_off_anywhere_it_is_taken_up_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int, persisted: bool
) -> None:
    before = contents(folder, OLD)
    real, written = module.write_private, 0

    def crash(path: Path, data: bytes) -> None:
        nonlocal written
        written += 1
        if written > step:
            if persisted:
                real(path, data)
            raise RuntimeError("power failure")
        real(path, data)

    monkeypatch.setattr(module, "write_private", crash)
    with pytest.raises(RuntimeError):
        Keyring(folder, OLD).rewrap(NEW)
    monkeypatch.undo()
    assert contents(folder, OLD, NEW) == before, "with both, everything opens, whichever is the first"
    assert contents(folder, NEW, OLD) == before
    between = Keyring(folder, NEW, former=[OLD])
    between.ensure()  # a start in between, which keeps something new
    between.seal("ca", b"the authority")
    Keyring(folder, NEW, former=[OLD]).rewrap(NEW)
    assert contents(folder, NEW) == before
    versions = Keyring(folder, NEW).inventory().keys["kek"].versions
    assert [(version.id, version.state(2**62)) for version in versions] == [(OLD.id, "retired"), (NEW.id, "active")]


def test_without_the_former_one_nothing_is_lost(folder: Path) -> None:
    with pytest.raises(KeyMaterialError, match=r"another KEK.*keys.former_kek: it is gone"):
        Keyring(folder, NEW, missing="keys.former_kek: it is gone").rewrap(NEW)
    assert contents(folder, OLD)["ca"] == b"the authority"


def test_a_kek_that_wraps_and_does_not_open_is_noticed(folder: Path) -> None:
    class Forgetful(LocalKek):
        def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
            raise KeyMaterialError("no")

    with pytest.raises(KeyMaterialError):
        Keyring(folder, OLD).rewrap(Forgetful(b"f" * 32))


def test_again_seals_anew_under_the_same_one(folder: Path) -> None:
    before = {name: (folder / f"{name}.sealed").read_bytes() for name in NAMES}
    assert Keyring(folder, OLD).rewrap(OLD, again=True) == len(NAMES)
    assert all((folder / f"{name}.sealed").read_bytes() != before[name] for name in NAMES)
    assert Keyring(folder, OLD).open("ca") == b"the authority"
