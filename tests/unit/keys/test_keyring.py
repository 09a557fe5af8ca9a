"""The keyring and the record's recipient."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from interlock.errors import KeyMaterialError
from interlock.keys import Keyring, PresentRecipient, recipient

KEK = bytes(range(32))


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "keys", KEK)
    ring.ensure()
    return ring


def test_what_is_missing_is_made_once(ring: Keyring) -> None:
    before = {path.name: path.read_bytes() for path in ring.folder.iterdir()}
    sealed = {f"{name}.sealed" for name in ("record", "lookup", "assertion", "intake", "store", "inventory")}
    assert set(before) == {"record.pub", "intake.pub"} | sealed
    ring.ensure()
    assert {path.name: path.read_bytes() for path in ring.folder.iterdir()} == before
    assert len(ring.lookup_key) == 32
    assert isinstance(load_pem_private_key(ring.assertion_key, None), Ed25519PrivateKey)


def test_modes(ring: Keyring) -> None:
    assert ring.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in ring.folder.iterdir()} == {0o600}


def test_no_secret_lies_in_the_clear(ring: Keyring) -> None:
    everything = b"".join(path.read_bytes() for path in ring.folder.iterdir())
    assert b"PRIVATE KEY" not in everything
    assert ring.lookup_key not in everything
    assert KEK.hex() not in repr(ring)
    assert repr(KEK) not in repr(ring)


def test_another_kek_is_found_at_start(ring: Keyring) -> None:
    with pytest.raises(KeyMaterialError, match="another KEK"):
        Keyring(ring.folder, secrets.token_bytes(32)).ensure()
    with pytest.raises(KeyMaterialError, match="32 bytes"):
        Keyring(ring.folder, b"short")


@pytest.mark.parametrize(
    "name", ["lookup.sealed", "assertion.sealed", "record.sealed", "inventory.sealed", "record.pub"]
)
def test_a_damaged_key_is_found_at_start_and_never_replaced(ring: Keyring, name: str) -> None:
    path = ring.folder / name
    path.write_bytes(path.read_bytes()[:-5])
    damaged = path.read_bytes()
    with pytest.raises(KeyMaterialError, match="damaged"):
        ring.ensure()
    assert path.read_bytes() == damaged


def test_sealed_files_that_were_swapped_are_refused(ring: Keyring) -> None:
    (ring.folder / "lookup.sealed").write_bytes((ring.folder / "assertion.sealed").read_bytes())
    with pytest.raises(KeyMaterialError, match="holds key 'assertion'"):
        ring.ensure()


def test_a_record_that_nobody_could_read_is_refused(ring: Keyring) -> None:
    (ring.folder / "record.sealed").unlink()
    with pytest.raises(KeyMaterialError, match="never read"):
        ring.ensure()


def test_other_keys_may_be_kept(ring: Keyring) -> None:
    assert not ring.exists("ca")
    ring.seal("ca", b"pem")
    assert ring.exists("ca")
    assert Keyring(ring.folder, KEK).open("ca") == b"pem"
    with pytest.raises(KeyMaterialError, match="No such file"):
        ring.open("none")


@pytest.mark.parametrize("name", ["", "../kek", "a/b", "Upper", "a.b", "-a", "x" * 65])
def test_a_name_is_no_path(ring: Keyring, name: str) -> None:
    for use in (ring.open, ring.exists, lambda name: ring.seal(name, b"")):
        with pytest.raises(KeyMaterialError, match="not a name"):
            use(name)


def test_sealed_to_the_recipient_and_opened_by_its_key_only(ring: Keyring, tmp_path: Path) -> None:
    public = recipient(ring.folder)  # no KEK in sight
    data_key = secrets.token_bytes(32)
    sealed = public.seal(data_key, b"segment-1")
    assert data_key not in sealed
    private = ring.open_record_key(public.id)
    assert private.open(sealed, b"segment-1") == data_key
    other = Keyring(tmp_path / "other", KEK)
    other.ensure()
    attempts = [
        (private, sealed, b"segment-2"),
        (private, sealed[:-1], b"segment-1"),
        (private, sealed[:20], b"segment-1"),
        (private, b"", b"segment-1"),
        (private, bytes([sealed[0] ^ 1]) + sealed[1:], b"segment-1"),
        (private, bytes(32) + sealed[32:], b"segment-1"),  # a point of low order
        (other.open_record_key(other.recipient().id), sealed, b"segment-1"),
    ]
    for key, box, info in attempts:
        with pytest.raises(KeyMaterialError):
            key.open(box, info)


def test_an_old_record_stays_readable_after_rotation(ring: Keyring) -> None:
    old = ring.recipient()
    sealed = old.seal(b"k" * 32, b"i")
    new = ring.rotate_record_key()
    assert ring.recipient().id == new.id != old.id
    assert ring.open_record_key(old.id).open(sealed, b"i") == b"k" * 32
    assert ring.open_record_key(new.id).open(new.seal(b"n" * 32, b"i"), b"i") == b"n" * 32
    with pytest.raises(KeyMaterialError, match="no record key"):
        ring.open_record_key("0" * 16)


@pytest.mark.parametrize("step", ["record.sealed", "record.pub"])
def test_a_crash_in_a_rotation_loses_no_key(ring: Keyring, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    old = ring.recipient()

    def crash(path: Path, data: bytes) -> None:
        if path.name == step:
            raise RuntimeError("power failure")
        real(path, data)

    import interlock.keys.keyring as module

    real = module.write_private
    monkeypatch.setattr(module, "write_private", crash)
    with pytest.raises(RuntimeError):
        ring.rotate_record_key()
    monkeypatch.undo()
    ring.ensure()
    assert ring.recipient().id == old.id


def test_a_recipient_whose_key_was_exchanged_is_refused(ring: Keyring, tmp_path: Path) -> None:
    other = Keyring(tmp_path / "other", KEK)
    other.ensure()
    mine = json.loads((ring.folder / "record.pub").read_bytes())
    theirs = json.loads((other.folder / "record.pub").read_bytes())
    (ring.folder / "record.pub").write_text(json.dumps({**mine, "public_key": theirs["public_key"]}))
    with pytest.raises(KeyMaterialError, match="damaged"):
        recipient(ring.folder)
    (ring.folder / "record.pub").write_text(json.dumps(theirs))  # whole, but not ours
    with pytest.raises(KeyMaterialError, match="no record key"):
        ring.ensure()
    (ring.folder / "record.pub").write_text(json.dumps({**mine, "version": 2}))
    with pytest.raises(KeyMaterialError, match="version 2"):
        recipient(ring.folder)


def test_a_public_half_that_was_exchanged_is_put_back(ring: Keyring, tmp_path: Path) -> None:
    path = ring.folder / "record.pub"
    assert ring.guard_recipient() is None
    good = path.read_bytes()
    other = Keyring(tmp_path / "other", KEK)
    other.ensure()
    path.write_bytes((other.folder / "record.pub").read_bytes())
    assert ring.guard_recipient() == other.recipient().id
    assert path.read_bytes() == good
    path.write_bytes(b"rubbish")
    assert ring.guard_recipient() == "a file that cannot be read"
    path.unlink()
    assert ring.guard_recipient()
    assert path.read_bytes() == good
    assert ring.guard_recipient() is None
    former = path.read_bytes()
    ring.rotate_record_key()
    assert ring.guard_recipient() is None, "a rotation is no exchange"
    path.write_bytes(former)
    assert ring.guard_recipient(), "an older one of ours is"
    assert ring.recipient().id == ring.inventory().keys["record"].versions[-1].id


def test_a_writer_follows_a_rotation_and_survives_a_damaged_file(ring: Keyring) -> None:
    present = PresentRecipient(ring.folder)
    first = present.id
    new = ring.rotate_record_key()
    assert present.id == new.id != first
    assert ring.open_record_key(new.id).open(present.seal(b"k" * 32, b"i"), b"i") == b"k" * 32
    (ring.folder / "record.pub").write_bytes(b"rubbish")
    assert present.id == new.id
