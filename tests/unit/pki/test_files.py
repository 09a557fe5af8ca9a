"""The certificate of `tls: auto`: made once, renewed in time, made anew when anything is wrong with it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.errors import KeyMaterialError
from interlock.gateway.tls import load_pair
from interlock.keys import Keyring, write_private
from interlock.pki import SERVER, LocalAuthority, ensure_server_certificate
from tests.unit.pki.handshake import client_context, handshake

NOW = time.time_ns()  # real, since OpenSSL looks at the dates too
DAY = 86400 * SECOND
NAMES = ["localhost", "127.0.0.1"]


class Place:
    """Where it all is: the keyring, the folder for people, and who issues."""

    def __init__(self, path: Path) -> None:
        (path / "keys").mkdir(mode=0o700, parents=True)
        self.keyring = Keyring(path / "keys", b"K" * 32)
        self.folder = path / "pki"
        self.authority = LocalAuthority.create(self.keyring, clock=ManualClock(NOW))

    def ensure(self, names: list[str] = NAMES, now: int = NOW, authority: LocalAuthority | None = None) -> bool:
        return ensure_server_certificate(authority or self.authority, self.keyring, self.folder, names, now)

    def context(self) -> ssl.SSLContext:
        """As a worker makes it; OpenSSL checks that key and certificate match."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(context, self.keyring.open(SERVER))
        return context


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    assert place.ensure()
    return place


def test_it_serves(place: Place) -> None:
    handshake(client_context((place.folder / "ca.pem").read_bytes()), place.context(), "localhost")


def test_no_private_key_lies_in_the_clear(place: Place, tmp_path: Path) -> None:
    assert {file.name: file.stat().st_mode & 0o777 for file in place.folder.iterdir()} == {
        "ca.pem": 0o600,
        "server.pem": 0o600,
    }
    assert place.folder.stat().st_mode & 0o777 == 0o700
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"PRIVATE KEY" not in file.read_bytes()
    assert (place.folder / "server.pem").read_bytes() in place.keyring.open(SERVER)


def test_one_that_an_older_version_left_is_removed(place: Place) -> None:
    (place.folder / "server.key").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    assert not place.ensure()
    assert not (place.folder / "server.key").exists()


def test_it_is_made_once(place: Place) -> None:
    before = place.keyring.open(SERVER)
    assert not place.ensure()
    assert not place.ensure(["LOCALHOST"], NOW + 19 * DAY)
    assert place.keyring.open(SERVER) == before


def test_it_is_renewed(place: Place) -> None:
    assert place.ensure(now=NOW + 21 * DAY)


def test_a_new_name_makes_it_anew(place: Place) -> None:
    assert place.ensure([*NAMES, "api.example.com"])


@pytest.mark.parametrize("contents", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\n"])
def test_whatever_is_wrong_with_it_it_is_made_anew(place: Place, contents: bytes) -> None:
    place.keyring.seal(SERVER, contents)
    assert place.ensure()
    assert not place.ensure()
    place.context()


def test_a_key_and_a_certificate_that_do_not_match_are_made_anew(place: Place) -> None:
    other = place.authority.issue_server(NAMES)
    place.keyring.seal(SERVER, other.key + (place.folder / "server.pem").read_bytes())
    assert place.ensure()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "server.pem").unlink(),
        lambda folder: (folder / "server.pem").write_bytes(b""),
        lambda folder: (folder / "server.pem").chmod(0o644),
        lambda folder: (folder / "ca.pem").unlink(),
    ],
)
def test_what_people_look_at_is_put_back(place: Place, damage: Callable[[Path], None]) -> None:
    before = (place.folder / "server.pem").read_bytes(), (place.folder / "ca.pem").read_bytes()
    damage(place.folder)
    assert not place.ensure()
    assert ((place.folder / "server.pem").read_bytes(), (place.folder / "ca.pem").read_bytes()) == before


def test_another_authority_makes_it_anew(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = LocalAuthority.create(Keyring(tmp_path / "other", b"K" * 32))
    assert place.ensure(authority=other)
    assert (place.folder / "ca.pem").read_bytes() == other.pem


@pytest.mark.parametrize("happened", [False, True])
def test_a_crash_is_mended(place: Place, monkeypatch: pytest.MonkeyPatch, happened: bool) -> None:
    """The write that people look at fails: not made, and made but reported as failed."""
    real = write_private

    def failing(path: Path, data: bytes) -> None:
        if happened:
            real(path, data)
        raise KeyMaterialError("the disk is full")

    monkeypatch.setattr("interlock.pki.files.write_private", failing)
    later = NOW + 21 * DAY
    with pytest.raises(KeyMaterialError):
        place.ensure(now=later)
    monkeypatch.undo()
    place.ensure(now=later)
    place.context()
    assert (place.folder / "server.pem").read_bytes() in place.keyring.open(SERVER)
