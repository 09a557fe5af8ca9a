"""What a key-encryption key does, wherever it is kept: it wraps small secrets, and opens what it wrapped.

    LocalKek       32 bytes in this process (a file, the environment)
    Pkcs11Kek      an AES key in a token, which never leaves it         (`keys.pkcs11`)
    TransitKek     a key in Vault or OpenBao, which never leaves it     (`keys.transit`)

A provider MUST authenticate `associated` with what it wraps, and its repr MUST show nothing.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.errors import KeyMaterialError

KEK_SIZE = 32
NONCE = 12
TAG = 16


class KekUnavailable(KeyMaterialError):
    """The KEK cannot be reached or used now: a token that is not there, a server that does not answer or refuses us."""


class Kek(Protocol):
    """One key-encryption key. May be used by several threads."""

    @property
    def id(self) -> str:
        """Names the key and tells nothing of it; stands in what it sealed."""
        ...

    @property
    def algorithm(self) -> str:
        """For the inventory, as in `AES-256-GCM`."""
        ...

    def wrap(self, secret: bytes, associated: bytes) -> bytes:
        """Encrypt a data key or another small secret. `KekUnavailable` if that cannot be done now."""
        ...

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        """What was wrapped; `KeyMaterialError` if it was altered, or wrapped for another use or by another key;
        `KekUnavailable` if that cannot be told now."""
        ...


class LocalKek:
    """A KEK that this process holds. AES-256-GCM, a random nonce in front."""

    algorithm = "AES-256-GCM"

    def __init__(self, key: bytes, kind: str = "file") -> None:
        if len(key) != KEK_SIZE:
            raise KeyMaterialError(f"a KEK is {KEK_SIZE} bytes")
        self._cipher = AESGCM(key)
        self.kind = kind  # "file" or "env"
        self.id = kek_id(key)

    def __repr__(self) -> str:
        return f"LocalKek({self.id})"

    def wrap(self, secret: bytes, associated: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._cipher.encrypt(nonce, secret, associated)

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:NONCE], wrapped[NONCE:], associated)
        except (InvalidTag, ValueError) as error:
            raise KeyMaterialError("what was wrapped is damaged, or another KEK wrapped it") from error


def kek_id(key: bytes) -> str:
    """A name for a local KEK that tells nothing of it."""
    return HKDF(algorithm=SHA256(), length=8, salt=None, info=b"interlock kek id v1").derive(key).hex()


def as_kek(kek: Kek | bytes) -> Kek:
    """Bytes are a local KEK."""
    return LocalKek(kek) if isinstance(kek, bytes) else kek
