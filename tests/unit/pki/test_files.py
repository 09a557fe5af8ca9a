"""The files of `tls: auto`: made once, renewed in time, made anew when anything is wrong with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.errors import KeyMaterialError
from interlock.keys import Keyring, write_private
from interlock.pki import Issued, LocalAuthority, ensure_server_files
from tests.unit.pki.handshake import client_context, handshake, server_context

NOW = time.time_ns()  # real, since OpenSSL looks at the dates too
DAY = 86400 * SECOND
NAMES = ["localhost", "127.0.0.1"]


@pytest.fixture
def authority(tmp_path: Path) -> LocalAuthority:
    (tmp_path / "keys").mkdir(mode=0o700)
    return LocalAuthority.create(Keyring(tmp_path / "keys", b"K" * 32), clock=ManualClock(NOW))


@pytest.fixture
def folder(tmp_path: Path, authority: LocalAuthority) -> Path:
    folder = tmp_path / "pki"
    assert ensure_server_files(authority, folder, NAMES, NOW)
    return folder


def test_they_serve(folder: Path, tmp_path: Path) -> None:
    pair = Issued((folder / "server.pem").read_bytes(), (folder / "server.key").read_bytes(), "", 0)
    handshake(client_context((folder / "ca.pem").read_bytes()), server_context(tmp_path, pair), "localhost")


def test_nobody_else_may_read_them(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        "ca.pem": 0o600,
        "server.pem": 0o600,
        "server.key": 0o600,
    }


def test_they_are_made_once(folder: Path, authority: LocalAuthority) -> None:
    before = (folder / "server.pem").read_bytes()
    assert not ensure_server_files(authority, folder, NAMES, NOW)
    assert not ensure_server_files(authority, folder, ["LOCALHOST"], NOW + 19 * DAY)
    assert (folder / "server.pem").read_bytes() == before


def test_they_are_renewed(folder: Path, authority: LocalAuthority) -> None:
    assert ensure_server_files(authority, folder, NAMES, NOW + 21 * DAY)


def test_a_new_name_makes_them_anew(folder: Path, authority: LocalAuthority) -> None:
    assert ensure_server_files(authority, folder, [*NAMES, "api.example.com"], NOW)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "server.key").unlink(),
        lambda folder: (folder / "server.pem").unlink(),
        lambda folder: (folder / "server.pem").write_bytes(b""),
        lambda folder: (folder / "server.key").write_bytes(b"rubbish"),
        lambda folder: (folder / "server.key").chmod(0o644),
        lambda folder: (folder / "server.pem").write_bytes((folder / "ca.pem").read_bytes()),
    ],
)
def test_whatever_is_wrong_with_them_they_are_made_anew(
    folder: Path, authority: LocalAuthority, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    assert ensure_server_files(authority, folder, NAMES, NOW)
    assert not ensure_server_files(authority, folder, NAMES, NOW)


def test_another_authority_makes_them_anew(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = LocalAuthority.create(Keyring(tmp_path / "other", b"K" * 32))
    assert ensure_server_files(other, folder, NAMES, NOW)
    assert (folder / "ca.pem").read_bytes() == other.pem


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("step", range(2))
def test_a_crash_between_the_files_is_mended(
    folder: Path, authority: LocalAuthority, monkeypatch: pytest.MonkeyPatch, step: int, happened: bool
) -> None:
    """Each write fails in turn: not made, and made but reported as failed."""
    writes = 0
    real = write_private

    def failing(path: Path, data: bytes) -> None:
        nonlocal writes
        if writes == step:
            if happened:
                real(path, data)
            raise KeyMaterialError("the disk is full")
        writes += 1
        real(path, data)

    monkeypatch.setattr("interlock.pki.files.write_private", failing)
    later = NOW + 21 * DAY
    with pytest.raises(KeyMaterialError):
        ensure_server_files(authority, folder, NAMES, later)
    monkeypatch.undo()
    ensure_server_files(authority, folder, NAMES, later)
    pair = Issued((folder / "server.pem").read_bytes(), (folder / "server.key").read_bytes(), "", 0)
    server_context(folder, pair)  # OpenSSL checks that key and certificate match
    assert not ensure_server_files(authority, folder, NAMES, NOW)
