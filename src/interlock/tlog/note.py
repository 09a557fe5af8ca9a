"""Signed notes: text signed by one or more keys (C2SP signed-note, text of commit 0552876).

Strict where the standard leaves room, so that a note that is accepted has exactly one spelling: base64 is
canonical, a note has at most 100 signatures and a million bytes, and a known key's signature that fails
refuses the whole note. Signature types are Ed25519 (0x01) and, in `cosignature`, 0x04.

The text MUST NOT be used before `open_note` has returned it: `parse_note` verifies nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock.errors import LogError
from interlock.tlog.encoding import decode_base64, encode_base64
from interlock.tlog.vkey import ED25519, VerifierKey, check_name, verifier_key

MAX_SIGNATURES: Final = 100  # verifiers must accept 16
MAX_NOTE: Final = 1_000_000  # bytes
_MARK: Final = "\N{EM DASH} "
_KEY_ID_SIZE: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Signature(NamedTuple):
    """One signature line: by which key, and what its algorithm made."""

    name: str
    key_id: bytes  # 4 bytes
    value: bytes

    def __str__(self) -> str:
        """The line without its newline."""
        return f"{_MARK}{self.name} {encode_base64(self.key_id + self.value)}"


class Note(NamedTuple):
    """A note as it is written. Nothing of it is verified."""

    text: str  # with its final newline
    signatures: tuple[Signature, ...]


class OpenedNote(NamedTuple):
    """A note that a known key has signed."""

    note: Note
    verified: tuple[Signature, ...]  # by known keys, in the order of the note; at least one
    unknown: tuple[Signature, ...]  # by keys that are not known: they say nothing

    @property
    def text(self) -> str:
        """What was signed."""
        return self.note.text


class Verifier(Protocol):
    """Verifies the signatures of one key."""

    @property
    def key(self) -> VerifierKey:
        """Whose signatures they are."""

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise LogError unless the key made this signature of this note text."""


class Signer(Protocol):
    """Signs with one key."""

    @property
    def key(self) -> VerifierKey:
        """What verifies the signatures."""

    def sign(self, text: bytes) -> bytes:
        """What stands after the key ID in a signature of this note text."""


class Ed25519Verifier:
    """Signature type 0x01: Ed25519 over the text of the note."""

    def __init__(self, key: VerifierKey) -> None:
        if key.signature_type != ED25519:
            raise LogError(f"{key} is not a key for Ed25519 notes")
        self.key = key
        self._public = Ed25519PublicKey.from_public_bytes(key.public_key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise LogError unless the key made this signature of this text."""
        try:
            self._public.verify(signature, text)
        except InvalidSignature:
            raise LogError(f"the signature of {self.key.name} does not verify") from None


class Ed25519Signer:
    """Signature type 0x01. Its repr shows nothing of the private key."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.key = verifier_key(name, ED25519, private.public_key().public_bytes_raw())
        self._private = private

    def __repr__(self) -> str:
        return f"Ed25519Signer({str(self.key)!r})"

    def sign(self, text: bytes) -> bytes:
        """64 bytes, RFC 8032."""
        return self._private.sign(text)


def parse_note(data: bytes) -> Note:
    """Read a note ("Format"). Verifies nothing. Raises LogError if it is malformed."""
    if len(data) > MAX_NOTE:
        raise LogError(f"a note is at most {MAX_NOTE} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise LogError("the note is not UTF-8") from None
    check_text(whole)
    blank = whole.rfind("\n\n")
    if blank < 0:
        raise LogError("the note has no signatures")
    lines = whole[blank + 2 :].split("\n")
    if lines.pop() != "":
        raise LogError("the note does not end with a newline")
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise LogError(f"a note has 1 to {MAX_SIGNATURES} signatures")
    return Note(whole[: blank + 1], tuple(parse_signature(line) for line in lines))


def parse_signature(line: str) -> Signature:
    """Read one signature line, without its newline. Raises LogError if it is malformed."""
    if not line.startswith(_MARK):
        raise LogError("a signature line begins with an em dash and a space")
    name, space, value = line[len(_MARK) :].partition(" ")
    check_name(name)
    data = decode_base64(value)
    if not space or len(data) <= _KEY_ID_SIZE:
        raise LogError(f"the signature of {name} is too short")
    return Signature(name, data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:])


def check_text(text: str) -> bytes:
    """The text as it is signed. Raises LogError if it is not UTF-8 or has a control character but newline."""
    if _CONTROL.search(text) is not None:
        raise LogError("a note has no control characters but newline")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise LogError("the note is not UTF-8") from None


def format_note(note: Note) -> bytes:
    """The note as written. Raises LogError if what it would make is not a note that says the same."""
    lines = "".join(f"{signature}\n" for signature in note.signatures)
    data = check_text(f"{note.text}\n{lines}")
    if parse_note(data) != note:
        raise LogError("that is not the text and the signatures of a note")
    return data


def sign_note(text: str, signers: Sequence[Signer], others: Sequence[Signature] = ()) -> bytes:
    """Sign a text, which ends with a newline; `others` are signatures that it has from elsewhere, put after."""
    signed = check_text(text)
    made = [Signature(signer.key.name, signer.key.key_id, signer.sign(signed)) for signer in signers]
    return format_note(Note(text, (*made, *others)))


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Read a note and verify what the known keys signed ("Signatures").

    1. Whatever is not by one of `verifiers`, by both name and key ID, is kept but says nothing.
    2. Every signature by one of them is verified; one that fails refuses the note.
    3. At least one must be there. Raises LogError otherwise.
    """
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.key.name, verifier.key.key_id), verifier).key != verifier.key:
            raise LogError(f"two keys are called {verifier.key.name} with key ID {verifier.key.key_id.hex()}")
    note = parse_note(data)
    text = note.text.encode()
    verified: list[Signature] = []
    unknown: list[Signature] = []
    for signature in note.signatures:
        maker = known.get((signature.name, signature.key_id))
        if maker is None:
            unknown.append(signature)  # 1
            continue
        maker.verify(text, signature.value)  # 2
        verified.append(signature)
    if not verified:  # 3
        raise LogError("no known key has signed the note")
    return OpenedNote(note, tuple(verified), tuple(unknown))
