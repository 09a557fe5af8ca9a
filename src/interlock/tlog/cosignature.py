"""Witnesses' cosignatures of checkpoints (C2SP tlog-cosignature, text of commit 01194db).

A cosignature says: at this time, this was the largest tree that the witness had seen of this log, and it is
consistent with all that it saw before. Of extension lines it says nothing, though it covers them.

Ed25519 (signature type 0x04) only: the specification also has ML-DSA-44 (0x06), which it recommends to new
deployments; that is not here, and such signatures are ignored as those of unknown keys. The signed message does
not name the witness, so one key MUST NOT serve two witnesses: `WitnessPolicy` refuses that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock.errors import LogError
from interlock.tlog.checkpoint import parse_checkpoint
from interlock.tlog.note import Note, Signature
from interlock.tlog.vkey import COSIGNATURE_V1, VerifierKey, parse_vkey, verifier_key

MAX_TIMESTAMP: Final = 2**63 - 1
_TIMESTAMP_SIZE: Final = 8
_SIZE: Final = _TIMESTAMP_SIZE + 64


class Cosignature(NamedTuple):
    """A witness's statement, verified."""

    witness: str
    timestamp: int  # seconds since 1970


def cosigned_message(text: bytes, timestamp: int) -> bytes:
    """What a witness signs for a note text: two lines, then the text ("Ed25519 signed message")."""
    return b"cosignature/v1\ntime %d\n" % timestamp + text


def timestamp_of(signature: Signature) -> int:
    """When a cosignature says it was made. Raises LogError if it is not of the form of one."""
    return _split(signature.value)[0]


class CosignatureVerifier:
    """Signature type 0x04: 8 bytes of time, big-endian, then Ed25519 over `cosigned_message`."""

    def __init__(self, key: VerifierKey) -> None:
        if key.signature_type != COSIGNATURE_V1:
            raise LogError(f"{key} is not a key for cosignatures")
        self.key = key
        self._public = Ed25519PublicKey.from_public_bytes(key.public_key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise LogError unless the witness made this cosignature of this note text."""
        timestamp, value = _split(signature)
        try:
            self._public.verify(value, cosigned_message(text, timestamp))
        except InvalidSignature:
            raise LogError(f"the cosignature of {self.key.name} does not verify") from None


class Cosigner:
    """A witness's signing half. It is for the caller to have verified consistency first. Its repr hides the key."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.key = verifier_key(name, COSIGNATURE_V1, private.public_key().public_bytes_raw())
        self._private = private

    def __repr__(self) -> str:
        return f"Cosigner({str(self.key)!r})"

    def cosign(self, text: str, timestamp: int) -> Signature:
        """The signature line to add to a checkpoint with that text. Raises LogError if it is not a checkpoint."""
        parse_checkpoint(text)
        if not 0 <= timestamp <= MAX_TIMESTAMP:
            raise LogError("the time of a cosignature is from 0 to 2^63-1")
        value = self._private.sign(cosigned_message(text.encode(), timestamp))
        return Signature(self.key.name, self.key.key_id, timestamp.to_bytes(_TIMESTAMP_SIZE, "big") + value)


class WitnessPolicy:
    """How many of which witnesses must have cosigned: k of n (C2SP tlog-policy has nested groups; these are flat)."""

    def __init__(self, threshold: int, witnesses: Iterable[VerifierKey | str]) -> None:
        """The witnesses by their vkeys. Raises LogError unless 1 <= threshold <= n and all public keys differ."""
        keys = [parse_vkey(one) if isinstance(one, str) else one for one in witnesses]
        if not 1 <= threshold <= len(keys):
            raise LogError(f"{threshold} of {len(keys)} witnesses cannot be asked for")
        if len({key.public_key for key in keys}) != len(keys):
            raise LogError("one key cannot be two witnesses")
        self.threshold = threshold
        self.verifiers: tuple[CosignatureVerifier, ...] = tuple(CosignatureVerifier(key) for key in keys)


def verify_cosignatures(note: Note, policy: WitnessPolicy, *, latest: int | None = None) -> tuple[Cosignature, ...]:
    """Verify a note's cosignatures by the witnesses of a policy, and that there are enough of them.

    1. Whatever is not by one of these witnesses says nothing.
    2. A cosignature by one of them that does not verify refuses the note.
    3. One made after `latest`, if that is given, does not count. A witness counts once, with its latest one.
    4. As many as the threshold must be left.

    Returns those that count. Raises LogError otherwise.
    """
    text = note.text.encode()
    witnesses = {(one.key.name, one.key.key_id): one for one in policy.verifiers}
    found: dict[tuple[str, bytes], int] = {}
    for signature in note.signatures:
        place = signature.name, signature.key_id
        if (witness := witnesses.get(place)) is None:
            continue  # 1
        witness.verify(text, signature.value)  # 2
        timestamp = timestamp_of(signature)
        if latest is None or timestamp <= latest:
            found[place] = max(timestamp, found.get(place, 0))  # 3
    if len(found) < policy.threshold:  # 4
        raise LogError(f"{len(found)} witnesses have cosigned, {policy.threshold} must have")
    return tuple(Cosignature(name, timestamp) for (name, _), timestamp in found.items())


def _split(value: bytes) -> tuple[int, bytes]:
    timestamp = int.from_bytes(value[:_TIMESTAMP_SIZE], "big")
    if len(value) != _SIZE or timestamp > MAX_TIMESTAMP:
        raise LogError("that is not a timestamped signature")
    return timestamp, value[_TIMESTAMP_SIZE:]
