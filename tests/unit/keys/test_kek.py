"""The key encryption key: where it comes from and what is no KEK."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from interlock.config import SecretRef
from interlock.errors import KeyMaterialError
from interlock.keys import load_kek, parse_kek, write_private
from interlock.keys.sealing import kek_id

RAW = bytes(range(100, 132))


def test_made_on_first_use_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "keys"
    kek = load_kek(None, folder)
    assert load_kek(None, folder).id == kek.id
    assert (folder / "kek").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert load_kek(None, tmp_path / "other").id != kek.id


def test_an_open_folder_is_narrowed(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    load_kek(None, folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_reference_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_TEST_KEK", RAW.hex())
    kek = load_kek(SecretRef("env", "INTERLOCK_TEST_KEK"), tmp_path)
    assert kek.id == kek_id(RAW)
    assert RAW.hex() not in repr(kek)
    assert not (tmp_path / "kek").exists()


@pytest.mark.parametrize("referenced", [True, False])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, referenced: bool) -> None:
    path = tmp_path / "kek"
    write_private(path, RAW)
    secret = SecretRef("file", str(path)) if referenced else None
    assert load_kek(secret, tmp_path).id == kek_id(RAW)
    path.chmod(0o640)
    with pytest.raises(KeyMaterialError, match="0640"):
        load_kek(secret, tmp_path)


@pytest.mark.parametrize(
    "form",
    [
        RAW,
        RAW.hex().encode(),
        RAW.hex().upper().encode() + b"\n",
        base64.b64encode(RAW) + b"\r\n",
        base64.urlsafe_b64encode(RAW).rstrip(b"="),
    ],
)
def test_forms(form: bytes) -> None:
    assert parse_kek(form, "here") == RAW


@pytest.mark.parametrize(
    "form",
    [b"", b"correct horse battery staple", RAW[:31], RAW + b"x", RAW.hex().encode()[:-2], base64.b64encode(RAW[:16])],
)
def test_what_is_no_kek_is_refused_and_not_shown(form: bytes) -> None:
    with pytest.raises(KeyMaterialError, match="32 random bytes") as caught:
        parse_kek(form, "keys.kek")
    if form:
        assert form.decode("latin-1") not in str(caught.value)


def test_an_empty_kek_file_is_refused_not_replaced(tmp_path: Path) -> None:
    write_private(tmp_path / "kek", b"")
    with pytest.raises(KeyMaterialError):
        load_kek(None, tmp_path)
    assert (tmp_path / "kek").read_bytes() == b""
