"""The intake key and the store key: replaced in two steps, and gone for good after the second."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from interlock.errors import KeyMaterialError
from interlock.keys import (
    Keyring,
    drop_old_store,
    intake,
    intake_keys,
    keep_intake,
    store_keys,
    turn_intake,
    turn_store,
)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "keys", b"k" * 32)
    ring.ensure()
    return ring


def test_what_was_sealed_to_the_old_intake_key_opens_until_it_is_dropped(ring: Keyring) -> None:
    old = intake(ring.folder)
    sealed = old.seal(b"s" * 32, b"info")
    new = turn_intake(ring)
    assert intake(ring.folder).id == new.id != old.id
    assert intake_keys(ring)[old.id].open(sealed, b"info") == b"s" * 32
    assert keep_intake(ring, [old.id]) == []
    assert keep_intake(ring, ()) == [old.id]
    assert set(intake_keys(ring)) == {new.id}


def test_a_crash_while_the_intake_key_turns_leaves_one_that_opens(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = intake(ring.folder).id

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("interlock.keys.intake"), "write_private", killed)
    with pytest.raises(KeyboardInterrupt):
        turn_intake(ring)
    assert intake(ring.folder).id == before
    assert before in intake_keys(ring)
    ring.ensure()


def test_a_public_half_that_nobody_can_open_is_refused(ring: Keyring) -> None:
    (ring.folder / "intake.sealed").unlink()
    with pytest.raises(KeyMaterialError, match=r"intake\.pub"):
        ring.ensure()


def test_the_store_key_turns(ring: Keyring) -> None:
    old = store_keys(ring).current
    wrapped, hashed = old.wrap(b"content", b"about"), old.hash("patient:4711")
    turn_store(ring)
    keys = store_keys(ring)
    assert keys.old == [old.id]
    assert keys[old.id].unwrap(wrapped, b"about") == b"content"
    assert keys.current.hash("patient:4711") != hashed
    with pytest.raises(KeyMaterialError):
        keys.current.unwrap(wrapped, b"about")
    drop_old_store(ring)
    assert old.id not in store_keys(ring)
    with pytest.raises(KeyMaterialError, match="destroyed"):
        store_keys(ring)[old.id]


@pytest.mark.parametrize("about", [b"other", b""])
def test_what_is_wrapped_is_bound_to_what_it_is_about(ring: Keyring, about: bytes) -> None:
    key = store_keys(ring).current
    with pytest.raises(KeyMaterialError):
        key.unwrap(key.wrap(b"content", b"about"), about)
    with pytest.raises(KeyMaterialError):
        key.unwrap(b"", b"about")


def test_nothing_of_a_key_is_shown(ring: Keyring) -> None:
    key = store_keys(ring).current
    assert "StoreKey object" in repr(key)
    assert "content" not in repr(key.wrap(b"content", b""))
