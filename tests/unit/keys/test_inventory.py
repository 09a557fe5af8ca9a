"""What is known of the keys, and that nobody changes it unnoticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.errors import KeyMaterialError
from interlock.keys import Keyring
from interlock.keys.assertion import public_half, thumbprint

KEK = bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000 * SECOND)


@pytest.fixture
def ring(tmp_path: Path, clock: ManualClock) -> Keyring:
    ring = Keyring(tmp_path / "keys", KEK, clock=clock)
    ring.ensure()
    return ring


def test_every_key_is_in_it_from_the_day_it_is_made(ring: Keyring, clock: ManualClock) -> None:
    clock.advance(1)
    ring.seal("other", b"x")
    known = ring.inventory().keys
    assert {name: entry.created_ns for name, entry in known.items()} == {
        **dict.fromkeys(("kek", "record", "lookup", "assertion", "intake", "store"), 1000 * SECOND),
        "other": 1001 * SECOND,
    }
    assert not any(entry.rotated_ns for entry in known.values())
    clock.advance(1)
    ring.seal("other", b"y")
    assert ring.inventory().keys["other"].rotated_ns == 1002 * SECOND
    assert ring.inventory().keys["other"].created_ns == 1001 * SECOND


def test_keys_of_an_older_version_have_the_date_of_their_file(ring: Keyring) -> None:
    (ring.folder / "inventory.sealed").unlink()
    os.utime(ring.folder / "lookup.sealed", ns=(5 * SECOND, 5 * SECOND))
    ring.ensure()
    assert ring.inventory().keys["lookup"].created_ns == 5 * SECOND


def test_one_that_was_taken_away_is_missed(ring: Keyring, clock: ManualClock) -> None:
    assert ring.inventory().remade_ns == 0
    (ring.folder / "inventory.sealed").unlink()
    clock.advance(1)
    ring.ensure()
    assert ring.inventory().remade_ns == 1001 * SECOND


def test_an_edited_one_is_refused(ring: Keyring, tmp_path: Path) -> None:
    path = ring.folder / "inventory.sealed"
    good = path.read_bytes()
    path.write_bytes(good[:-20] + bytes([good[-20] ^ 1]) + good[-19:])
    with pytest.raises(KeyMaterialError, match="damaged"):
        ring.inventory()
    other = Keyring(tmp_path / "other", b"o" * 32)
    other.ensure()
    path.write_bytes((other.folder / "inventory.sealed").read_bytes())
    with pytest.raises(KeyMaterialError, match="another KEK"):
        ring.ensure()


def test_a_rotated_assertion_key_is_published_beside_the_former_one_for_a_while(
    ring: Keyring, clock: ManualClock
) -> None:
    old = public_half(ring.assertion_key)
    assert ring.published() == [old]
    clock.advance(1)
    key_id = ring.rotate_assertion_key(60 * SECOND)
    new = public_half(ring.assertion_key)
    assert thumbprint(new) == key_id
    assert ring.published() == [new, old]
    former, active = ring.inventory().keys["assertion"].versions
    assert (former.id, former.state(clock.wall())) == (thumbprint(old), "retired")
    assert (active.id, active.state(clock.wall())) == (key_id, "active")
    clock.advance(60)
    assert ring.published() == [new]
    assert ring.inventory().keys["assertion"].versions[0].state(clock.wall()) == "destroyed"


def test_a_rotation_that_broke_off_before_the_key_was_sealed_never_was(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = public_half(ring.assertion_key)

    def crash(*_: object) -> None:
        raise RuntimeError("power failure")

    monkeypatch.setattr(ring, "seal", crash)
    with pytest.raises(RuntimeError):
        ring.rotate_assertion_key(60 * SECOND)
    monkeypatch.undo()
    assert ring.published()[0] == old
    ring.ensure()
    entry = ring.inventory().keys["assertion"]
    assert entry.active is not None
    assert entry.active.id == thumbprint(old)
    assert ring.published() == [old]


def test_the_record_s_recipients(ring: Keyring) -> None:
    first = ring.recipient().id
    second = ring.rotate_record_key().id
    versions = ring.inventory().keys["record"].versions
    assert [(version.id, version.state(2**62)) for version in versions] == [(first, "retired"), (second, "active")]
