"""The node's keys: made once, sealed under the KEK, opened only by those who need them.

    record.pub, record.sealed   recipient of the record: public half in the clear, private halves by id
    lookup.sealed               32 bytes: under what API keys are hashed
    assertion.sealed            Ed25519, PKCS #8 PEM: signs what upstreams are told of the caller
    ca.sealed                   the local certificate authority (made by `pki`)

A keyring MUST NOT be handed to a worker: it is given the two keys it uses, as bytes.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interlock.errors import KeyMaterialError
from interlock.keys.kek import ensure_folder
from interlock.keys.recipient import FILE, Recipient, RecipientKey, recipient
from interlock.keys.sealing import KEK_SIZE, read_private, seal, unseal, write_private

RECORD, LOOKUP, ASSERTION = "record", "lookup", "assertion"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Keyring:
    """Opens and makes keys in one folder. Its repr shows nothing of the KEK."""

    def __init__(self, folder: Path, kek: bytes) -> None:
        if len(kek) != KEK_SIZE:
            raise KeyMaterialError(f"a KEK is {KEK_SIZE} bytes")
        self.folder = folder
        self._kek = kek

    def __repr__(self) -> str:
        return f"Keyring({str(self.folder)!r})"

    def ensure(self) -> None:
        """Make what is missing. A key that is there is opened, so that a wrong KEK is found at start.

        A missing private half beside a `record.pub` is refused: nobody could read the record any more.
        """
        ensure_folder(self.folder)
        self._ensure_record()
        if not self.exists(LOOKUP):
            self.seal(LOOKUP, secrets.token_bytes(32))
        if not self.exists(ASSERTION):
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.seal(ASSERTION, pem)
        self.open(LOOKUP)
        self.open(ASSERTION)

    def exists(self, name: str) -> bool:
        return self._path(name).exists()

    def seal(self, name: str, secret: bytes) -> None:
        """Keep a secret under a name, in place of what was there; on disk when this returns."""
        write_private(self._path(name), seal(self._kek, name, secret))

    def open(self, name: str) -> bytes:
        """A secret by name; `KeyMaterialError` if it is missing, damaged, readable by others or under another KEK."""
        return unseal(self._kek, name, read_private(self._path(name)))

    @property
    def lookup_key(self) -> bytes:
        """Under what API keys are hashed (32 bytes)."""
        return self.open(LOOKUP)

    @property
    def assertion_key(self) -> bytes:
        """Ed25519 private key, PKCS #8 PEM."""
        return self.open(ASSERTION)

    def recipient(self) -> Recipient:
        """To whom new segments are sealed."""
        return recipient(self.folder)

    def open_record_key(self, key_id: str) -> RecipientKey:
        """The private half that a segment's header names."""
        private = self._record_keys().get(key_id)
        if private is None:
            raise KeyMaterialError(f"there is no record key {key_id!r} in {self.folder}")
        return RecipientKey(private)

    def rotate_record_key(self) -> Recipient:
        """A new recipient for segments to come; the old private halves are kept to read what there is."""
        private = X25519PrivateKey.generate()
        new = Recipient(private.public_key().public_bytes_raw())
        known = self._record_keys() if self.exists(RECORD) else {}
        # The private half first: a crash in between must not leave a recipient nobody can open.
        self.seal(RECORD, msgspec.json.encode({**known, new.id: private.private_bytes_raw()}))
        write_private(self.folder / FILE, new.encode())
        return new

    def _ensure_record(self) -> None:
        has_public, has_private = (self.folder / FILE).exists(), self.exists(RECORD)
        if has_public and not has_private:
            raise KeyMaterialError(f"{self._path(RECORD)} is missing: the record could be written and never read")
        if not has_public:
            self.rotate_record_key()
        self.open_record_key(self.recipient().id)

    def _record_keys(self) -> dict[str, bytes]:
        try:
            return msgspec.json.decode(self.open(RECORD), type=dict[str, bytes])
        except msgspec.MsgspecError as error:
            raise KeyMaterialError(f"key {RECORD!r}: the contents are damaged") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyMaterialError(f"{name!r} is not a name for a key")
        return self.folder / f"{name}.sealed"
