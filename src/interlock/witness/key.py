"""The witness's key: Ed25519, made at the first start, in a file for its owner only. It is never shown.

The signed message of a cosignature does not name the witness, so a key MUST NOT serve two (C2SP tlog-cosignature): the
name belongs to the key and is chosen once.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.errors import KeyMaterialError, LogError, UsageError
from interlock.keys import read_private, write_private
from interlock.tlog import Cosigner

FILE = "key"
VERSION = 1


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    name: str
    private: bytes  # 32 bytes, raw

    def __repr__(self) -> str:
        return f"_Key(name={self.name!r})"


def open_cosigner(folder: Path, name: str | None = None) -> Cosigner:
    """The witness's signing half; made, under `name` or a random one, if there is none. `folder` must be there.

    Raises `KeyMaterialError` if the file cannot be read, `UsageError` if the key has another name, or none can be made.
    """
    path = folder / FILE
    if not path.exists():
        wanted = name or f"interlock-witness/{secrets.token_hex(8)}"
        private = Ed25519PrivateKey.generate()
        try:
            Cosigner(wanted, private)
        except LogError as error:
            raise UsageError(f"--name: {error}") from None
        try:
            write_private(path, _encoded(wanted, private), replace=False)
        except FileExistsError:
            pass  # somebody was quicker: theirs it is
    try:
        key = msgspec.json.decode(read_private(path), type=_Key)
        cosigner = Cosigner(key.name, Ed25519PrivateKey.from_private_bytes(key.private))
    except (ValueError, LogError):
        raise KeyMaterialError(f"{path}: the file is damaged") from None
    if key.version != VERSION:
        raise KeyMaterialError(f"{path}: of a later version")
    if name is not None and name != key.name:
        raise UsageError(f"the key in {folder} belongs to the witness {key.name}; another name needs another folder")
    return cosigner


def _encoded(name: str, private: Ed25519PrivateKey) -> bytes:
    return msgspec.json.encode(_Key(VERSION, name, private.private_bytes_raw())) + b"\n"
