"""Keys at rest."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from interlock.errors import KeyMaterialError
from interlock.keys import read_private, write_private
from interlock.keys.sealing import kek_id, seal, unseal

KEK = bytes(range(32))
OTHER = bytes(32)


def test_sealed_and_opened() -> None:
    data = seal(KEK, "lookup", b"the secret")
    assert unseal(KEK, "lookup", data) == b"the secret"
    assert b"the secret" not in data
    assert base64.b64encode(b"the secret") not in data
    assert data != seal(KEK, "lookup", b"the secret"), "a nonce is never reused"


def test_the_shape_on_disk() -> None:
    box = json.loads(seal(KEK, "lookup", b"x"))
    assert set(box) == {"version", "name", "kek", "key", "nonce", "sealed"}
    assert (box["version"], box["name"], box["kek"]) == (2, "lookup", kek_id(KEK))
    assert len(base64.b64decode(box["nonce"])) == 12
    assert len(base64.b64decode(box["sealed"])) == 1 + 16
    assert len(base64.b64decode(box["key"])) == 12 + 32 + 16


# Sealed by the first version of this module, under bytes(range(32)).
FIRST = (
    b'{"version":1,"name":"lookup","kek":"b7a1dd5c5f9b57e3",'
    b'"nonce":"VLYEfvrrFd7iktmh","sealed":"hnK+p1WPp2w4+2Csc/z/QzTvQYRV7qnbf44="}'
)


def test_what_the_first_version_sealed_is_read() -> None:
    assert unseal(KEK, "lookup", FIRST) == b"the secret"
    with pytest.raises(KeyMaterialError, match="another KEK"):
        unseal(OTHER, "lookup", FIRST)
    with pytest.raises(KeyMaterialError, match="damaged"):
        unseal(KEK, "assertion", FIRST.replace(b'"lookup"', b'"assertion"'))
    with pytest.raises(KeyMaterialError, match="damaged"):
        unseal(KEK, "lookup", FIRST.replace(b'"version":1', b'"version":2'))


def test_another_kek_is_told_from_damage() -> None:
    with pytest.raises(KeyMaterialError, match="another KEK"):
        unseal(OTHER, "lookup", seal(KEK, "lookup", b"x"))
    box = json.loads(seal(KEK, "lookup", b"x"))
    box["kek"] = kek_id(OTHER)  # even if it lies of its KEK
    with pytest.raises(KeyMaterialError, match="damaged"):
        unseal(OTHER, "lookup", json.dumps(box).encode())


def test_one_key_cannot_stand_in_for_another() -> None:
    data = seal(KEK, "lookup", b"x")
    with pytest.raises(KeyMaterialError, match="holds key 'lookup'"):
        unseal(KEK, "assertion", data)
    renamed = data.replace(b'"lookup"', b'"assertion"')
    with pytest.raises(KeyMaterialError, match="damaged"):
        unseal(KEK, "assertion", renamed)


def test_no_flipped_or_missing_byte_opens_as_something_else() -> None:
    data = seal(KEK, "lookup", b"the secret")
    for at in range(len(data)):
        for altered in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at] + data[at + 1 :]):
            try:
                assert unseal(KEK, "lookup", altered) == b"the secret"  # white space, or base64's spare bits
            except KeyMaterialError:
                pass


def test_a_future_version_is_refused() -> None:
    data = seal(KEK, "lookup", b"x").replace(b'"version":2', b'"version":3')
    with pytest.raises(KeyMaterialError, match="version 3"):
        unseal(KEK, "lookup", data)


def test_private_files(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        write_private(path, b"one")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    write_private(path, b"two")
    assert read_private(path) == b"two"
    with pytest.raises(FileExistsError):
        write_private(path, b"three", replace=False)
    assert read_private(path) == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o644, 0o666])
def test_a_file_that_others_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_private(path, b"x")
    path.chmod(mode)
    with pytest.raises(KeyMaterialError, match="chmod 600"):
        read_private(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyMaterialError, match="not a regular file"):
        read_private(tmp_path / "fifo")
    with pytest.raises(KeyMaterialError):
        read_private(tmp_path)
    with pytest.raises(KeyMaterialError, match="No such file"):
        read_private(tmp_path / "none")


def test_a_failed_write_leaves_the_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "key", b"old")

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(KeyMaterialError, match="Input/output error"):
        write_private(tmp_path / "key", b"new")
    monkeypatch.undo()
    assert read_private(tmp_path / "key") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
