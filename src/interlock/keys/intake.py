"""The intake key: to whom writers seal each segment's subject key, until it is turned.

    intake.pub, intake.sealed   public half in the clear, private halves by id, as of the record's recipient

Workers hold the public half, so that they can hide who a call is about and cannot find out afterwards. The
private half is opened by whoever takes subject keys in or reads. When the key is turned, its old private
halves MUST NOT be dropped before every segment that was sealed to them has ended and was taken in.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock.errors import KeyMaterialError
from interlock.keys.recipient import Recipient, RecipientKey, recipient
from interlock.keys.sealing import write_private

INTAKE = "intake"
INTAKE_FILE = "intake.pub"


class Box(Protocol):
    """Where secrets are kept: a `Keyring`."""

    folder: Path

    def exists(self, name: str) -> bool: ...

    def seal(self, name: str, secret: bytes) -> None: ...

    def open(self, name: str) -> bytes: ...


def intake(folder: Path) -> Recipient:
    """To whom the subjects of new segments are sealed. Needs no KEK."""
    return recipient(folder, INTAKE_FILE)


def intake_keys(box: Box) -> dict[str, RecipientKey]:
    """All private halves there are, by id."""
    return {key_id: RecipientKey(private) for key_id, private in _private(box).items()}


def ensure_intake(box: Box) -> None:
    """Make the key if it is missing; a public half that nobody can open is refused."""
    if not (box.folder / INTAKE_FILE).exists():
        turn_intake(box)
    elif intake(box.folder).id not in _private(box):
        raise KeyMaterialError(f"{box.folder / INTAKE_FILE}: its private half is missing from the keyring")


def turn_intake(box: Box) -> Recipient:
    """A new key for segments to come; the old ones stay until `keep_intake` drops them."""
    private = X25519PrivateKey.generate()
    new = Recipient(private.public_key().public_bytes_raw())
    # The private half first: a crash in between must not leave a public one nobody can open.
    _keep(box, {**_private(box), new.id: private.private_bytes_raw()})
    write_private(box.folder / INTAKE_FILE, new.encode())
    return new


def keep_intake(box: Box, ids: Iterable[str]) -> list[str]:
    """Destroy every private half but those named and the present one; gives the ids of those destroyed."""
    wanted = {*ids, intake(box.folder).id}
    known = _private(box)
    dropped = [key_id for key_id in known if key_id not in wanted]
    if dropped:
        _keep(box, {key_id: private for key_id, private in known.items() if key_id in wanted})
    return dropped


def _private(box: Box) -> dict[str, bytes]:
    if not box.exists(INTAKE):
        return {}
    try:
        return msgspec.json.decode(box.open(INTAKE), type=dict[str, bytes])
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {INTAKE!r}: the contents are damaged") from error


def _keep(box: Box, keys: dict[str, bytes]) -> None:
    box.seal(INTAKE, msgspec.json.encode(keys))
