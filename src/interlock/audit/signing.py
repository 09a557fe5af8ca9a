"""Who signs the record's checkpoints, and how one is told from a stranger's.

A checkpoint carries two signatures of the log: one of its text (C2SP signed-note), and one that says when as
well (cosignature/v1, which a log may make of itself), so that a checkpoint signed anew while nothing happened
still tells that the recorder was alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit.bound import journal_line
from interlock.clock import SECOND
from interlock.errors import LogError
from interlock.keys import Keyring, ensure_log_key, log_names, open_log_key
from interlock.tlog import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    Cosigner,
    Ed25519Signer,
    Ed25519Verifier,
    SignedCheckpoint,
    WitnessPolicy,
    format_checkpoint,
    open_checkpoint,
    parse_vkey,
    sign_checkpoint,
    verifier_key,
    verify_cosignatures,
)


def log_signer(keyring: Keyring) -> LogSigner:
    """The signer of a node's record, for who may open its keys; made if there is none yet."""
    ensure_log_key(keyring)
    key = open_log_key(keyring)
    return LogSigner(key.origin, key.private, log_names(keyring.folder).keys)


def log_verifier(keys: Path) -> LogVerifier:
    """What opens the checkpoints of the node whose keys are in that folder. Needs no KEK."""
    names = log_names(keys)
    return LogVerifier(names.origin, names.keys)


class LogVerifier:
    """Opens the checkpoints of one log, by any key that it has or had."""

    def __init__(self, origin: str, public_keys: Sequence[bytes]) -> None:
        self.origin = origin
        self.vkeys = [verifier_key(origin, ED25519, key) for key in public_keys]
        self.verifiers = [Ed25519Verifier(key) for key in self.vkeys]
        self._clocks = WitnessPolicy(1, [verifier_key(origin, COSIGNATURE_V1, key) for key in public_keys])

    @classmethod
    def of(cls, vkeys: Sequence[str]) -> LogVerifier:
        """From the log's verifier keys as text, kept elsewhere; `LogError`."""
        keys = [parse_vkey(text.strip()) for text in vkeys]
        if not keys or len({key.name for key in keys}) > 1 or any(key.signature_type != ED25519 for key in keys):
            raise LogError("one or more verifier keys of one log are needed")
        return cls(keys[0].name, [key.public_key for key in keys])

    def open(self, data: bytes) -> Checkpoint:
        """What this log signed; `LogError` for anything else."""
        return self.open_signed(data).checkpoint

    def open_signed(self, data: bytes) -> SignedCheckpoint:
        """The same, with the note and all its signatures."""
        return open_checkpoint(data, self.verifiers, origin=self.origin)

    def time_of(self, signed: SignedCheckpoint) -> int:
        """When the log says that it signed, in seconds since 1970; `LogError` if it does not say."""
        return max(one.timestamp for one in verify_cosignatures(signed.opened.note, self._clocks))


class LogSigner(LogVerifier):
    """Signs. Its repr shows nothing of the key."""

    def __init__(self, origin: str, private_key: bytes, public_keys: Sequence[bytes] = ()) -> None:
        private = Ed25519PrivateKey.from_private_bytes(private_key)
        public = private.public_key().public_bytes_raw()
        super().__init__(origin, [public, *(key for key in public_keys if key != public)])
        self._signer = Ed25519Signer(origin, private)
        self._clock = Cosigner(origin, private)

    def __repr__(self) -> str:
        return f"LogSigner({self.origin!r})"

    def sign(self, size: int, root: bytes, time_ns: int, journal: bytes = b"") -> bytes:
        """The signed checkpoint of a tree; `journal`: the running hash of what it was made of."""
        checkpoint = Checkpoint(self.origin, size, root, (journal_line(journal),) if journal else ())
        when = self._clock.cosign(format_checkpoint(checkpoint), time_ns // SECOND)
        return sign_checkpoint(checkpoint, [self._signer], [when])
