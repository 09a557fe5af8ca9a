"""What workers are given of the node's keys, and how they are given newer ones while they run.

    run/handover        sealed under a key that is made at each start of the node and lies in memory only

The preparing child writes it, control writes it anew when a key was rotated, and a worker reads it at its start and
with each new snapshot. So a rotation needs no restart, the supervisor holds no key of the node, and no key of the
node lies on disk in the clear. What is in here MUST NOT open the record, other keys, or issue certificates.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.errors import KeyMaterialError
from interlock.keys.sealing import read_private, seal, unseal, write_private
from interlock.keys.wrapping import KEK_SIZE

_NAME = "handover"


class Handed(msgspec.Struct, frozen=True):
    """The keys a worker uses. Its repr shows none."""

    lookup_key: bytes  # of keyed hashes of API keys, 32 bytes
    assertion_key: bytes  # Ed25519 private key, PKCS #8 PEM
    server: bytes = b""  # private key and certificate of `tls: auto`, PEM; empty where no listener has it

    def __repr__(self) -> str:
        return "Handed()"


class Handover:
    """One node's file; `key` is known to who may write or read it. Its repr shows nothing of it."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    def __repr__(self) -> str:
        return f"Handover({str(self._path)!r})"

    def put(self, handed: Handed) -> None:
        """In place of what was there."""
        write_private(self._path, seal(self._key, _NAME, msgspec.msgpack.encode(handed)))

    def get(self) -> Handed:
        """The newest keys; `KeyMaterialError` if they are missing, altered or of another start of the node."""
        data = unseal(self._key, _NAME, read_private(self._path))
        try:
            return msgspec.msgpack.decode(data, type=Handed)
        except msgspec.MsgspecError as error:
            raise KeyMaterialError(f"{self._path}: the contents are damaged") from error

    def derive(self, purpose: str) -> bytes:
        """32 bytes that all who may read the handover have in common, until the node starts anew (RFC 5869)."""
        return HKDF(SHA256(), 32, salt=None, info=f"interlock handover {purpose} 1".encode("ascii")).derive(self._key)


def handover_key() -> bytes:
    """For one start of a node."""
    return secrets.token_bytes(KEK_SIZE)
