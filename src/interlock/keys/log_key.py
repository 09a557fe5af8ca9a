"""The key that signs the record's checkpoints: Ed25519, one active, the retired ones known by their public half.

    log.sealed    the log's name and the active private key, under the KEK
    log.pub       the log's name and all public keys, the active one first; in the clear

The name (the `origin` of C2SP tlog-checkpoint) is random, made once, and stays when the key turns: a log is
the same log under its next key. Only the recorder is given the private key, and it is given no other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.errors import KeyMaterialError
from interlock.keys.keyring import Keyring
from interlock.keys.sealing import write_private

LOG = "log"
FILE = "log.pub"
VERSION = 1


class LogKey(msgspec.Struct, frozen=True):
    """What signs. Its repr shows nothing of the key."""

    origin: str
    private: bytes  # 32 bytes, raw

    def __repr__(self) -> str:
        return f"LogKey(origin={self.origin!r})"

    @property
    def public(self) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()


class LogNames(msgspec.Struct, frozen=True):
    """What verifies: the log's name and its public keys (32 bytes, raw), the active one first."""

    version: int
    origin: str
    keys: list[bytes]


def ensure_log_key(keyring: Keyring) -> None:
    """Make the key if there is none; a private half whose public one is missing gets it again."""
    if not keyring.exists(LOG):
        origin = f"interlock/{secrets.token_hex(16)}"
        _keep(keyring, LogKey(origin, Ed25519PrivateKey.generate().private_bytes_raw()), [])
        return
    key = open_log_key(keyring)
    path = keyring.folder / FILE
    known = log_names(keyring.folder).keys if path.exists() else []
    if key.public not in known[:1]:  # a rotation broke off, or the file was removed
        _publish(keyring, key, known)


def open_log_key(keyring: Keyring) -> LogKey:
    """The active key; `KeyMaterialError`."""
    try:
        return msgspec.json.decode(keyring.open(LOG), type=LogKey)
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {LOG!r}: the contents are damaged") from error


def rotate_log_key(keyring: Keyring, record: Callable[[str], object]) -> LogKey:
    """A new key for checkpoints to come; the old private half is gone, its public half stays known.

    `record` is told the new public half, in hex, before it counts.
    """
    old = open_log_key(keyring)
    key = LogKey(old.origin, Ed25519PrivateKey.generate().private_bytes_raw())
    record(key.public.hex())
    _keep(keyring, key, log_names(keyring.folder).keys)
    return key


def log_names(folder: Path) -> LogNames:
    """What verifies checkpoints. Needs no KEK. `KeyMaterialError`."""
    path = folder / FILE
    try:
        names = msgspec.json.decode(path.read_bytes(), type=LogNames)
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"{path}: the file is damaged") from error
    if names.version != VERSION or not names.keys or any(len(key) != 32 for key in names.keys):
        raise KeyMaterialError(f"{path}: the file is damaged, or of a later version")
    return names


def _keep(keyring: Keyring, key: LogKey, known: list[bytes]) -> None:
    # The private half first: the public file is made again from it.
    keyring.seal(LOG, msgspec.json.encode(key))
    _publish(keyring, key, known)


def _publish(keyring: Keyring, key: LogKey, known: list[bytes]) -> None:
    keys = [key.public, *(other for other in known if other != key.public)]
    write_private(keyring.folder / FILE, msgspec.json.encode(LogNames(VERSION, key.origin, keys)) + b"\n")
