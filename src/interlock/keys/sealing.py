"""Keys at rest: AES-256-GCM under the KEK, one small JSON file each.

    {"version": 1, "name": ..., "kek": <8 bytes naming the KEK, hex>, "nonce": ..., "sealed": ...}

The name is authenticated, so that one sealed file cannot stand in for another. A file is written aside,
synced and renamed: a crash leaves the old key or the new one. Nothing is ever written in the clear.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.errors import KeyMaterialError

KEK_SIZE = 32
VERSION = 1
_NONCE = 12


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    name: str
    kek: str
    nonce: bytes
    sealed: bytes


def kek_id(kek: bytes) -> str:
    """A name for a KEK that tells nothing of it."""
    return HKDF(algorithm=SHA256(), length=8, salt=None, info=b"interlock kek id v1").derive(kek).hex()


def seal(kek: bytes, name: str, secret: bytes) -> bytes:
    """The contents of a sealed file."""
    nonce = secrets.token_bytes(_NONCE)
    sealed = AESGCM(kek).encrypt(nonce, secret, _associated(name))
    return msgspec.json.encode(_Sealed(VERSION, name, kek_id(kek), nonce, sealed)) + b"\n"


def unseal(kek: bytes, name: str, data: bytes) -> bytes:
    """Open what `seal` made; `KeyMaterialError` tells a wrong KEK from a damaged file."""
    try:
        box = msgspec.json.decode(data, type=_Sealed)
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {name!r}: the file is damaged") from error
    if box.version != VERSION:
        raise KeyMaterialError(f"key {name!r}: version {box.version} is not known here")
    if box.name != name:
        raise KeyMaterialError(f"key {name!r}: the file holds key {box.name!r}")
    if box.kek != kek_id(kek):
        raise KeyMaterialError(f"key {name!r}: sealed under another KEK ({box.kek})")
    try:
        return AESGCM(kek).decrypt(box.nonce, box.sealed, _associated(name))
    except (InvalidTag, ValueError) as error:
        raise KeyMaterialError(f"key {name!r}: the file is damaged") from error


def _associated(name: str) -> bytes:
    return b"interlock key v1\0" + name.encode()


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Put a file in place atomically, readable by its owner only, on disk when this returns.

    With `replace=False` a file that is there is kept: `FileExistsError`.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.rename(aside, path)
            else:
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror}") from error


def read_private(path: Path) -> bytes:
    """Read a file that nobody but its owner may read or write; `KeyMaterialError` otherwise."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise KeyMaterialError(f"{path}: not a regular file")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise KeyMaterialError(f"{path}: mode {mode:04o} lets others at it; run: chmod 600 {path}")
            if os.geteuid() not in (0, status.st_uid):
                raise KeyMaterialError(f"{path}: belongs to another user (uid {status.st_uid})")
            return file.read(1 << 20)
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror}") from error
