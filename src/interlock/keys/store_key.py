"""The store key: wraps what the state database knows of persons, and is replaced after an erasure.

    store.sealed   {"current": id, "keys": {id: 32 bytes}}

From each store key two are derived: one wraps (AES-256-GCM, a fresh nonce each), one makes the keyed hash by
which a person is found. So with the key goes also the possibility to try guesses on an old copy of the
database. More than one is there only while a turn is under way.
"""

from __future__ import annotations

import hmac
import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.errors import KeyMaterialError
from interlock.keys.intake import Box

STORE = "store"
_NONCE = 12


class StoreKey:
    """One store key. Its repr shows nothing."""

    __slots__ = ("_aead", "_hash", "id")

    def __init__(self, key_id: str, key: bytes) -> None:
        self.id = key_id
        self._aead = AESGCM(_derived(key, b"interlock store wrap 1"))
        self._hash = _derived(key, b"interlock store hash 1")

    def wrap(self, secret: bytes, about: bytes) -> bytes:
        """Nonce and ciphertext; opens only with the same `about`."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._aead.encrypt(nonce, secret, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        try:
            return self._aead.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], about)
        except (InvalidTag, ValueError) as error:
            raise KeyMaterialError(f"what is wrapped cannot be opened with store key {self.id}") from error

    def hash(self, text: str) -> bytes:
        """32 bytes under which a person is found."""
        return hmac.digest(self._hash, text.encode(), "sha256")


class StoreKeys:
    """The store keys of one keyring, the present one first among them."""

    def __init__(self, current: str, keys: dict[str, bytes]) -> None:
        self.all = {key_id: StoreKey(key_id, key) for key_id, key in keys.items()}
        self.current = self.all[current]

    @property
    def old(self) -> list[str]:
        """Those that are on their way out."""
        return [key_id for key_id in self.all if key_id != self.current.id]

    def __getitem__(self, key_id: str) -> StoreKey:
        key = self.all.get(key_id)
        if key is None:
            raise KeyMaterialError(f"there is no store key {key_id!r}: it was destroyed")
        return key

    def __contains__(self, key_id: str) -> bool:
        return key_id in self.all


class _Keys(msgspec.Struct):
    current: str
    keys: dict[str, bytes]


def store_keys(box: Box) -> StoreKeys:
    found = _read(box)
    return StoreKeys(found.current, found.keys)


def ensure_store(box: Box) -> None:
    """Make the key if it is missing; one that is there is opened."""
    if not box.exists(STORE):
        turn_store(box)
    store_keys(box)


def turn_store(box: Box) -> None:
    """A new present key; the old ones stay until `drop_old_store`."""
    new, key = secrets.token_hex(8), secrets.token_bytes(32)
    known = _read(box).keys if box.exists(STORE) else {}
    box.seal(STORE, msgspec.json.encode(_Keys(new, {**known, new: key})))


def drop_old_store(box: Box) -> None:
    """Destroy all but the present key. MUST NOT be called while anything is still wrapped under them."""
    found = _read(box)
    if len(found.keys) > 1:
        box.seal(STORE, msgspec.json.encode(_Keys(found.current, {found.current: found.keys[found.current]})))


def _read(box: Box) -> _Keys:
    try:
        found = msgspec.json.decode(box.open(STORE), type=_Keys)
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {STORE!r}: the contents are damaged") from error
    if any(len(key) != 32 for key in found.keys.values()) or found.current not in found.keys:
        raise KeyMaterialError(f"key {STORE!r}: the contents are damaged")
    return found


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=info).derive(key)
