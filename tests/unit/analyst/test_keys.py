"""Reading keys are opened once in a while, and forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.analyst.keys import HELD, ReadingKeys
from interlock.errors import KeyMaterialError
from interlock.keys import Keyring


def test_a_key_is_opened_once_and_not_kept_when_it_is_destroyed(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, b"k" * 32)
    keyring.ensure()
    recipient = keyring.recipient()
    sealed = recipient.seal(b"d" * 32, b"info")
    opened, now = 0, 1000.0

    def make() -> Keyring:
        nonlocal opened
        opened += 1
        return keyring

    keys = ReadingKeys(make, lambda: now)
    for _ in range(5):
        assert keys(recipient.id, sealed, b"info") == b"d" * 32
    assert opened == 1
    (tmp_path / "record.sealed").unlink()
    now += HELD + 1
    with pytest.raises(KeyMaterialError):
        keys(recipient.id, sealed, b"info")
