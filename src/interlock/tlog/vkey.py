"""Verifier keys and key IDs (C2SP signed-note, "Signatures" and "Verifier keys", text of commit c8760d3).

A vkey is `<name>+<key ID, 8 hex digits>+base64(signature type || public key)`. Name and key ID together say
which key made a signature *and* how, so one public key has another ID for each signature type; a vkey of one
type MUST NOT be used for another.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, NamedTuple

from interlock.errors import LogError
from interlock.tlog.encoding import decode_base64, encode_base64

ED25519: Final = 0x01  # signs the text of the note
COSIGNATURE_V1: Final = 0x04  # signs the text and a time, see `cosignature`
_PUBLIC_KEY_SIZE: Final = 32
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


class VerifierKey(NamedTuple):
    """A public key, what it is called, and what kind of signature it verifies. `str()` is the vkey."""

    name: str
    key_id: bytes  # 4 bytes
    signature_type: int
    public_key: bytes  # 32 bytes, RFC 8032

    def __str__(self) -> str:
        material = bytes([self.signature_type]) + self.public_key
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(material)}"


def check_name(name: str) -> None:
    """Raise LogError unless it is a key name: not empty, no Unicode space, no `+` and no control character."""
    if not name or any(character.isspace() or character == "+" or character < " " for character in name):
        raise LogError(f"{name!r} is not a key name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LogError(f"{name!r} is not a key name") from None


def verifier_key(name: str, signature_type: int, public_key: bytes) -> VerifierKey:
    """The verifier key of an Ed25519 public key. Raises LogError on a bad name, type or length."""
    check_name(name)
    if signature_type not in (ED25519, COSIGNATURE_V1):
        raise LogError(f"signature type {signature_type:#04x} is not supported")
    if len(public_key) != _PUBLIC_KEY_SIZE:
        raise LogError(f"an Ed25519 public key is {_PUBLIC_KEY_SIZE} bytes")
    key_id = sha256(name.encode() + b"\n" + bytes([signature_type]) + public_key).digest()[:4]
    return VerifierKey(name, key_id, signature_type, public_key)


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey. Raises LogError if it is malformed, of another type, or its key ID is not the one of its key."""
    parts = text.split("+", 2)  # base64 may have a `+` of its own
    if len(parts) != 3 or _KEY_ID.fullmatch(parts[1]) is None:
        raise LogError("a verifier key is name+id+base64, the id 8 lower-case hex digits")
    material = decode_base64(parts[2])
    if not material:
        raise LogError("the verifier key is empty")
    key = verifier_key(parts[0], material[0], material[1:])
    if key.key_id.hex() != parts[1]:
        raise LogError(f"the key ID of {parts[0]} is {key.key_id.hex()}, not {parts[1]}")
    return key
