"""The key of people's authenticators."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.errors import KeyMaterialError
from interlock.keys import FACTORS, FactorKey, Keyring, factor_key


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    keyring = Keyring(tmp_path, b"k" * 32)
    keyring.ensure()
    return keyring


def test_it_is_made_once(keyring: Keyring) -> None:
    assert not keyring.exists(FACTORS)
    key = factor_key(keyring)
    assert factor_key(keyring).id == key.id
    assert factor_key(keyring).unwrap(key.wrap(b"seed", "of alice"), "of alice") == b"seed"
    keyring.check()


def test_what_is_sealed_opens_where_it_belongs_only(keyring: Keyring) -> None:
    key = factor_key(keyring)
    sealed = key.wrap(b"seed", "of alice")
    assert b"seed" not in sealed
    assert sealed != key.wrap(b"seed", "of alice")
    for wrong in (sealed[:-1], sealed[:11], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(KeyMaterialError):
            key.unwrap(wrong, "of alice")
    with pytest.raises(KeyMaterialError):
        key.unwrap(sealed, "of bob")
    with pytest.raises(KeyMaterialError):
        FactorKey(b"o" * 32).unwrap(sealed, "of alice")


def test_uses_are_kept_apart(keyring: Keyring) -> None:
    key = factor_key(keyring)
    assert key.hash("session", b"x") != key.hash("recovery", b"x")
    assert len({key.derive(purpose) for purpose in ("seal", "hash", "flow", "form")}) == 4
    assert key.id not in repr(key)


def test_a_damaged_key_is_refused(keyring: Keyring) -> None:
    keyring.seal(FACTORS, b"short")
    with pytest.raises(KeyMaterialError, match="damaged"):
        factor_key(keyring)
