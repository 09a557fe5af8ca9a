"""To whom the record is sealed: HPKE (RFC 9180) with X25519, HKDF-SHA256, AES-256-GCM.

Workers hold the public half: they can write the record and cannot read it. The private half is opened
from the keyring by a command that reads.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from interlock.errors import KeyMaterialError

FILE = "record.pub"
VERSION = 1
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_ENCAPSULATED = 32


class _Public(msgspec.Struct):
    version: int
    kem: str
    id: str
    public_key: bytes


class Recipient:
    """The public half. `id` (16 hex digits) is made from the key, so the two cannot be mixed up."""

    __slots__ = ("_key", "id", "public_key")
    class_ = 0  # of retention: the standard one

    def __init__(self, public_key: bytes) -> None:
        self._key = X25519PublicKey.from_public_bytes(public_key)
        self.public_key = public_key  # 32 bytes, raw
        self.id = recipient_id(public_key)

    def seal(self, data_key: bytes, info: bytes) -> bytes:
        """Only the holder of the private half can open it, and only with the same `info`."""
        return _SUITE.encrypt(data_key, self._key, info)

    def encode(self) -> bytes:
        """The contents of `record.pub`."""
        return msgspec.json.encode(_Public(VERSION, "X25519", self.id, self.public_key)) + b"\n"


class RecipientKey:
    """The private half. Its repr shows nothing."""

    __slots__ = ("_key", "id")

    def __init__(self, private_key: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private_key)
        self.id = recipient_id(self._key.public_key().public_bytes_raw())

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed; `KeyMaterialError` if it was sealed to another key, for another use, or altered."""
        if len(sealed) < _ENCAPSULATED:
            raise KeyMaterialError("a sealed data key is cut short")
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError) as error:
            raise KeyMaterialError(f"a data key cannot be opened with record key {self.id}") from error


def recipient_id(public_key: bytes) -> str:
    return hashlib.sha256(b"interlock record recipient\0" + public_key).hexdigest()[:16]


def recipient(folder: Path, file: str = FILE) -> Recipient:
    """The recipient of new segments. Needs no KEK."""
    path = folder / file
    try:
        public = msgspec.json.decode(path.read_bytes(), type=_Public)
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"{path}: the file is damaged") from error
    if public.version != VERSION or public.kem != "X25519":
        raise KeyMaterialError(f"{path}: version {public.version} ({public.kem}) is not known here")
    if len(public.public_key) != 32 or recipient_id(public.public_key) != public.id:
        raise KeyMaterialError(f"{path}: the file is damaged")
    return Recipient(public.public_key)


class PresentRecipient:
    """Whoever is the recipient when a segment begins: a writer that runs for long follows a rotation by itself.

    One that cannot be read then is no reason to lose a record: the last one that could is taken, whose private
    half is kept.
    """

    def __init__(self, folder: Path, file: str = FILE) -> None:
        self._folder = folder
        self._file = file
        self._known = recipient(folder, file)
        self.class_ = self._known.class_

    @property
    def id(self) -> str:
        """Looks; what is sealed after it is sealed to the recipient it named."""
        try:
            self._known = recipient(self._folder, self._file)
        except KeyMaterialError:
            pass
        return self._known.id

    def seal(self, data_key: bytes, info: bytes) -> bytes:
        return self._known.seal(data_key, info)
