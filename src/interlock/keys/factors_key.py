"""The key of people's authenticators: seals passwords' hashes, seeds and passkeys, and hashes what is only looked up.

    factors.sealed   32 bytes, made when the first account is

From it one key is derived for each use, so that nothing made for one can serve another. It is not replaced:
codes and cookies that are known by their hash alone could not be found again.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.errors import KeyMaterialError
from interlock.keys.cache_key import Box

FACTORS: Final = "factors"
SIZE: Final = 32
_NONCE: Final = 12


class FactorKey:
    """The opened key. Its repr shows nothing; may be used by several threads."""

    __slots__ = ("_aead", "_hash", "_key", "id")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(self.derive("seal"))
        self._hash = self.derive("hash")
        self.id = self.derive("id")[:8].hex()  # names it and tells nothing of it

    def wrap(self, secret: bytes, about: str) -> bytes:
        """Nonce and ciphertext; opens only with the same `about`."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._aead.encrypt(nonce, secret, about.encode())

    def unwrap(self, wrapped: bytes, about: str) -> bytes:
        try:
            return self._aead.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyMaterialError(f"what is sealed cannot be opened with the key {FACTORS!r} ({self.id})") from error

    def hash(self, kind: str, value: bytes) -> bytes:
        """32 bytes under which a secret or a name of this kind is found."""
        return hmac.digest(self._hash, kind.encode() + b"\0" + value, "sha256")

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose."""
        return HKDF(SHA256(), SIZE, salt=None, info=b"interlock factors 1 " + purpose.encode()).derive(self._key)


def factor_key(box: Box) -> FactorKey:
    """The key, made if there is none; `KeyMaterialError` if it cannot be opened."""
    if not box.exists(FACTORS):
        box.seal(FACTORS, secrets.token_bytes(SIZE))
    key = box.open(FACTORS)
    if len(key) != SIZE:
        raise KeyMaterialError(f"key {FACTORS!r}: the contents are damaged")
    return FactorKey(key)
