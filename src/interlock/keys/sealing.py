"""Keys at rest: each in one small JSON file, under a data key of its own that the KEK wrapped.

    {"version": 2, "name": ..., "kek": <names the KEK>, "key": <the wrapped data key>, "nonce": ..., "sealed": ...}

AES-256-GCM. Name and KEK are authenticated, so that one sealed file cannot stand in for another. Version 1
had no data key: the KEK, which could only be a local one, sealed the secret itself. It is still read.

A file is written aside, synced and renamed: a crash leaves the old key or the new one. Nothing is ever
written in the clear.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.errors import KeyMaterialError
from interlock.keys.wrapping import KEK_SIZE, NONCE, Kek, KekUnavailable, as_kek, kek_id

__all__ = ["KEK_SIZE", "kek_id", "read_private", "seal", "sealed_under", "unseal", "write_private"]

VERSION = 2
_DATA_KEY = 32


class _Sealed(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    version: int
    name: str
    kek: str
    nonce: bytes
    sealed: bytes
    key: bytes = b""  # since version 2


def seal(kek: Kek | bytes, name: str, secret: bytes) -> bytes:
    """The contents of a sealed file; the data key is fresh each time."""
    kek = as_kek(kek)
    data_key, nonce = secrets.token_bytes(_DATA_KEY), secrets.token_bytes(NONCE)
    sealed = AESGCM(data_key).encrypt(nonce, secret, _associated(name, kek.id))
    return (
        msgspec.json.encode(_Sealed(VERSION, name, kek.id, nonce, sealed, kek.wrap(data_key, _wrapping(name)))) + b"\n"
    )


def unseal(kek: Kek | bytes, name: str, data: bytes) -> bytes:
    """Open what `seal` made; `KeyMaterialError` tells a wrong KEK from a damaged file."""
    kek, box = as_kek(kek), _read(name, data)
    if box.kek != kek.id:
        raise KeyMaterialError(f"key {name!r}: sealed under another KEK ({box.kek})")
    if box.version == 1:
        return _opened(name, kek, box.nonce + box.sealed, b"interlock key v1\0" + name.encode())
    data_key = _opened(name, kek, box.key, _wrapping(name))
    try:
        return AESGCM(data_key).decrypt(box.nonce, box.sealed, _associated(name, kek.id))
    except (InvalidTag, ValueError) as error:
        raise KeyMaterialError(f"key {name!r}: the file is damaged") from error


def sealed_under(name: str, data: bytes) -> str:
    """The id of the KEK that a sealed file says it is under. Opens nothing."""
    return _read(name, data).kek


def _read(name: str, data: bytes) -> _Sealed:
    try:
        box = msgspec.json.decode(data, type=_Sealed)
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {name!r}: the file is damaged") from error
    if box.version not in (1, VERSION):
        raise KeyMaterialError(f"key {name!r}: version {box.version} is not known here")
    if box.name != name:
        raise KeyMaterialError(f"key {name!r}: the file holds key {box.name!r}")
    return box


def _opened(name: str, kek: Kek, wrapped: bytes, associated: bytes) -> bytes:
    try:
        return kek.unwrap(wrapped, associated)
    except KekUnavailable:
        raise
    except KeyMaterialError as error:
        raise KeyMaterialError(f"key {name!r}: the file is damaged") from error


def _wrapping(name: str) -> bytes:
    return b"interlock data key v2\0" + name.encode()


def _associated(name: str, kek: str) -> bytes:
    return b"interlock key v2\0" + name.encode() + b"\0" + kek.encode()


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
